"""``bardge demo``: the client's main job against a sandbox, in plain words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import attrs

from bardge_async import (
    AccessCodeRequest,
    BardgeClient,
    BardgeError,
    BookClass,
    Booking,
    ConfirmClassBooking,
    IdempotentClient,
    InitiateLookup,
    IssuePass,
    OutcomeUnknownError,
    PurchaseCredits,
    ResourceConflictError,
    UpdateIssuedPassExpiry,
    VerifyLookup,
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
        for scene in (_walk, _issue, _extend, _buy, _refused, _book, _cancel, _lookup):
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
    first = await stage.bardge.passes.list().first()
    request = IssuePass(
        client_id="client_demo_1", pass_id=first.id if first else "", first_name="Ngozi", last_name="Okafor"
    )
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
    package = await stage.bardge.credits.list_packages().first()
    assert package is not None  # noqa: S101 - the sandbox's seed holds some
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


async def _book(stage: Stage) -> None:
    stage.title("6. Book classes: the three outcomes")
    bookings = stage.bardge.bookings
    covered = await bookings.initiate_class(BookClass(class_instance_id="ci_abc123", client_id=CLIENT))
    stage.say(f"  covered by the pass: booked at once as {covered.booking_id}, {covered.class_name} on {covered.date}")

    visits = await bookings.initiate_class(BookClass(class_instance_id="ci_abc123", client_id="client_visits_used"))
    stage.say(f"  no visit left: more visits cost {visits.cost_per_visit} each, session {visits.session_id}")
    async with stage.bardge.idempotent("demo-visits-1") as once:
        more = ConfirmClassBooking(number_of_visits=2, duration="MONTHLY")
        booked = await once.bookings.confirm_class(visits.session_id or "", more)
        stage.say(f"  confirmed with 2 visits: {booked.id}, {booked.status}")
        stage.outcome(once)

    copay = await bookings.initiate_class(BookClass(class_instance_id="ci_premium", client_id=CLIENT))
    options = copay.copay_options or ()
    option = next((each.copay_package_id for each in options if each.copay_package_id), "")
    stage.say(f"  a co-pay is due: {len(options)} options, session {copay.session_id}")
    async with stage.bardge.idempotent("demo-copay-1") as once:
        chosen = ConfirmClassBooking(copay_package_id=option)
        booked = await once.bookings.confirm_class(copay.session_id or "", chosen)
        stage.say(f"  confirmed with {option}: {booked.id}, {booked.status}")
        stage.outcome(once)


async def _cancel(stage: Stage) -> None:
    stage.title("7. Cancel a booking, twice")
    booked = await stage.bardge.bookings.list_for_client(CLIENT).first()
    booking_id = (booked.id if booked else None) or ""
    cancelled = await stage.bardge.bookings.cancel(booking_id)
    stage.say(f"  {booking_id} is {cancelled.status}, refund: {_refund(cancelled)}")
    try:
        await stage.bardge.bookings.cancel(booking_id)
    except ResourceConflictError as error:
        stage.say(f"  once more: {type(error).__name__}: {error.message}")


def _refund(booking: Booking) -> str:
    refund = booking.refund
    if refund is None:
        return "none"
    return f"{refund.visits_restored or 0} visits, {refund.amount or 0} {refund.currency or ''}".rstrip()


async def _lookup(stage: Stage) -> None:
    stage.title("8. Look up another reseller's client, and make an access code")
    issuers = await stage.bardge.lookups.list_issuers().collect()
    stage.say(f"  {len(issuers)} issuers; the client's is Zuma Bank")
    asked = await stage.bardge.lookups.initiate(InitiateLookup(issuer_id="iss_zuma_bank", client_id="client_lookup"))
    lookup_id = asked.id or ""
    code = stage.sandbox.lookup_code(lookup_id)
    stage.say(f"  {lookup_id} is {asked.status}; the client reads us the code {code}")
    found = await stage.bardge.lookups.verify(lookup_id, VerifyLookup(access_code=code))
    stage.say(f"  verified: the token holds until {found.expires_at}; we store it, nobody returns it again")
    request = AccessCodeRequest(client_id="client_lookup", provider_id="prov_gym_standard")
    made = await stage.bardge.access_codes.generate(request, lookup_token=found.lookup_token)
    stage.say(
        f"  access code {made.access_code}, good until {made.expires_at}, QR code of {len(made.qr_code or '')} characters"
    )
