"""``bardge demo``: the client's main job against a sandbox, in plain words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import attrs

from bardge_async import (
    BardgeClient,
    BardgeError,
    IdempotentClient,
    IssuePass,
    OutcomeUnknownError,
    PurchaseCredits,
    UpdateIssuedPassExpiry,
)
from bardge_async.sandbox import Sandbox

CLIENT = "client_abc123"


@attrs.frozen
class Stage:
    """What every scene needs."""

    say: Callable[[str], None]
    sandbox: Sandbox
    bardge: BardgeClient

    def title(self, text: str) -> None:
        """Begin a scene."""
        self.say("")
        self.say(text)

    def outcome(self, once: IdempotentClient) -> None:
        """Tell what an idempotent block went through."""
        self.say(f"  key {once.key}, requests sent: {once.attempts}, replayed: {once.replayed or 'no'}")


async def run(say: Callable[[str], None]) -> None:
    """Play all scenes; an error that no scene expects comes out."""
    async with Sandbox() as sandbox, BardgeClient(sandbox.api_key, sandbox.base_url) as bardge:
        say("A sandbox of the Bardge Reseller API serves on this machine:")
        say(f"  {sandbox.base_url}")
        stage = Stage(say, sandbox, bardge)
        for scene in (_walk, _issue, _extend, _buy, _refused):
            await scene(stage)
    say("")
    say("Done: nothing was charged twice, nothing was lost.")


async def _walk(stage: Stage) -> None:
    stage.title("1. Walk the passes that we may issue, over all pages")
    count = 0
    async for item in stage.bardge.passes.list(page_size=10):
        count += 1
        if count <= 3:  # noqa: PLR2004 - enough to see
            stage.say(f"  {item.id}: {item.name}, {item.price} {item.currency}")
    stage.say(f"  ... {count} passes in all")


async def _issue(stage: Stage) -> None:
    stage.title("2. Issue a pass to a client")
    first = [item async for item in stage.bardge.passes.list(limit=1)][0]
    request = IssuePass(client_id="client_demo_1", pass_id=first.id, first_name="Ngozi", last_name="Okafor")
    async with stage.bardge.idempotent("demo-issue-1") as once:
        issued = await once.passes.issue(request)
        stage.say(f"  {issued.id}: {issued.pass_name} for {issued.client_id}, {issued.status}")
        stage.outcome(once)


async def _extend(stage: Stage) -> None:
    stage.title("3. Extend a client's pass, in an idempotent block")
    async with stage.bardge.idempotent("demo-extend-1") as once:
        done = await once.passes.update_expiry(CLIENT, UpdateIssuedPassExpiry(expiry_date=dt.date(2027, 12, 31)))
        stage.say(f"  {done.message}")
        stage.outcome(once)
    issued = await stage.bardge.passes.get_issued(CLIENT)
    stage.say(f"  {issued.id} now ends at {issued.expires_at}")


async def _buy(stage: Stage) -> None:
    stage.title("4. Buy credits while the connection is cut after the charge")
    package = [item async for item in stage.bardge.credits.list_packages(limit=1)][0]
    before = await stage.bardge.clients.get_credits(CLIENT)
    stage.say(f"  balance before: {before.balance} {before.currency}; buying {package.name}")
    stage.sandbox.cut_after("credits.purchase")
    async with stage.bardge.idempotent("demo-order-8731") as once:
        bought = await once.credits.purchase(PurchaseCredits(client_id=CLIENT, package_id=package.id or ""))
        stage.say("  the server charged, then the line broke; the client asked again under the same key")
        stage.outcome(once)
    charges = sum(entry.idempotency_key == once.key for entry in stage.sandbox.ledger(CLIENT))
    stage.say(f"  balance after: {bought.balance} {bought.currency}; charges in the server's ledger: {charges}")


async def _refused(stage: Stage) -> None:
    stage.title("5. A bad request, and its error")
    try:
        await stage.bardge.credits.purchase(PurchaseCredits(client_id=CLIENT, package_id="cpkg_none"))
    except OutcomeUnknownError:
        raise
    except BardgeError as error:
        stage.say(f"  {type(error).__name__}: {error}")
        stage.say(f"  request id for the vendor's support: {error.request_id}; may be retried: {error.retryable}")
