"""``bardge demo``: show the client's main features against a sandbox."""

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
    """What every scene uses."""

    echo: Callable[[str], None]
    sandbox: Sandbox
    bardge: BardgeClient

    def print_title(self, text: str) -> None:
        """Print a scene's title."""
        self.echo("")
        self.echo(text)

    def print_outcome(self, once: IdempotentClient) -> None:
        """Print the key, attempts and replay of an idempotent block."""
        self.echo(f"  key {once.key}, requests sent: {once.attempts}, replayed: {once.replayed or 'no'}")


async def run_demo(echo: Callable[[str], None]) -> None:
    """Play all scenes; unexpected errors propagate."""
    async with Sandbox() as sandbox, BardgeClient(sandbox.api_key, sandbox.base_url) as bardge:
        echo("A sandbox of the Bardge Reseller API is running on this machine:")
        echo(f"  {sandbox.base_url}")
        stage = Stage(echo, sandbox, bardge)
        for scene in (
            _list_passes,
            _issue_pass,
            _extend_pass,
            _buy_credits,
            _show_error,
            _book_classes,
            _cancel_booking,
            _look_up_client,
        ):
            await scene(stage)
    echo("")
    echo("Done: nothing was charged twice, nothing was lost.")


async def _list_passes(stage: Stage) -> None:
    stage.print_title("1. List all passes that we may issue, across all pages")
    count = 0
    async for item in stage.bardge.passes.list(page_size=10):
        count += 1
        if count <= 3:  # noqa: PLR2004 - enough to see
            stage.echo(f"  {item.id}: {item.name}, {item.price} {item.currency}")
    stage.echo(f"  ... {count} passes in all")


async def _issue_pass(stage: Stage) -> None:
    stage.print_title("2. Issue a pass to a client")
    first = await stage.bardge.passes.list().first()
    request = IssuePass(
        client_id="client_demo_1", pass_id=first.id if first else "", first_name="Ngozi", last_name="Okafor"
    )
    async with stage.bardge.idempotent("demo-issue-1") as once:
        issued = await once.passes.issue(request)
        stage.echo(f"  {issued.id}: {issued.pass_name} for {issued.client_id}, {issued.status}")
        stage.print_outcome(once)


async def _extend_pass(stage: Stage) -> None:
    stage.print_title("3. Extend a client's pass, in an idempotent block")
    async with stage.bardge.idempotent("demo-extend-1") as once:
        done = await once.passes.update_expiry(CLIENT, UpdateIssuedPassExpiry(expiry_date=dt.date(2027, 12, 31)))
        stage.echo(f"  {done.message}")
        stage.print_outcome(once)
    issued = await stage.bardge.passes.get_issued(CLIENT)
    stage.echo(f"  {issued.id} now ends at {issued.expires_at}")


async def _buy_credits(stage: Stage) -> None:
    stage.print_title("4. Buy credits while the connection is cut after the charge")
    package = await stage.bardge.credits.list_packages().first()
    assert package is not None
    before = await stage.bardge.clients.get_credits(CLIENT)
    stage.echo(f"  balance before: {before.balance} {before.currency}; buying {package.name}")
    stage.sandbox.cut_after("credits.purchase")
    async with stage.bardge.idempotent("demo-order-8731") as once:
        bought = await once.credits.purchase(PurchaseCredits(client_id=CLIENT, package_id=package.id or ""))
        stage.echo("  the server charged, then the connection broke; the client retried with the same key")
        stage.print_outcome(once)
    charges = sum(entry.idempotency_key == once.key for entry in stage.sandbox.ledger(CLIENT))
    stage.echo(f"  balance after: {bought.balance} {bought.currency}; charges in the server's ledger: {charges}")


async def _show_error(stage: Stage) -> None:
    stage.print_title("5. A bad request, and its error")
    try:
        await stage.bardge.credits.purchase(PurchaseCredits(client_id=CLIENT, package_id="cpkg_none"))
    except OutcomeUnknownError:
        raise
    except BardgeError as error:
        stage.echo(f"  {type(error).__name__}: {error}")
        stage.echo(f"  request id for the vendor's support: {error.request_id}; may be retried: {error.retryable}")


async def _book_classes(stage: Stage) -> None:
    stage.print_title("6. Book classes: the three outcomes")
    bookings = stage.bardge.bookings
    covered = await bookings.initiate_class(BookClass(class_instance_id="ci_abc123", client_id=CLIENT))
    stage.echo(
        f"  covered by the pass: booked immediately as {covered.booking_id}, {covered.class_name} on {covered.date}"
    )

    visits = await bookings.initiate_class(BookClass(class_instance_id="ci_abc123", client_id="client_visits_used"))
    stage.echo(f"  no visits left: more cost {visits.cost_per_visit} each, session {visits.session_id}")
    async with stage.bardge.idempotent("demo-visits-1") as once:
        more = ConfirmClassBooking(number_of_visits=2, duration="MONTHLY")
        booked = await once.bookings.confirm_class(visits.session_id or "", more)
        stage.echo(f"  confirmed with 2 visits: {booked.id}, {booked.status}")
        stage.print_outcome(once)

    copay = await bookings.initiate_class(BookClass(class_instance_id="ci_premium", client_id=CLIENT))
    options = copay.copay_options or ()
    option = next((each.copay_package_id for each in options if each.copay_package_id), "")
    stage.echo(f"  a co-pay is due: {len(options)} options, session {copay.session_id}")
    async with stage.bardge.idempotent("demo-copay-1") as once:
        chosen = ConfirmClassBooking(copay_package_id=option)
        booked = await once.bookings.confirm_class(copay.session_id or "", chosen)
        stage.echo(f"  confirmed with {option}: {booked.id}, {booked.status}")
        stage.print_outcome(once)


async def _cancel_booking(stage: Stage) -> None:
    stage.print_title("7. Cancel a booking, twice")
    booked = await stage.bardge.bookings.list_for_client(CLIENT).first()
    booking_id = (booked.id if booked else None) or ""
    cancelled = await stage.bardge.bookings.cancel(booking_id)
    stage.echo(f"  {booking_id} is {cancelled.status}, refund: {_format_refund(cancelled)}")
    try:
        await stage.bardge.bookings.cancel(booking_id)
    except ResourceConflictError as error:
        stage.echo(f"  once more: {type(error).__name__}: {error.message}")


def _format_refund(booking: Booking) -> str:
    refund = booking.refund
    if refund is None:
        return "none"
    return f"{refund.visits_restored or 0} visits, {refund.amount or 0} {refund.currency or ''}".rstrip()


async def _look_up_client(stage: Stage) -> None:
    stage.print_title("8. Look up another reseller's client, and make an access code")
    issuers = await stage.bardge.lookups.list_issuers().collect()
    stage.echo(f"  {len(issuers)} issuers; the client's is Zuma Bank")
    asked = await stage.bardge.lookups.initiate(InitiateLookup(issuer_id="iss_zuma_bank", client_id="client_lookup"))
    lookup_id = asked.id or ""
    code = stage.sandbox.lookup_code(lookup_id)
    stage.echo(f"  {lookup_id} is {asked.status}; the client reads us the code {code}")
    found = await stage.bardge.lookups.verify(lookup_id, VerifyLookup(access_code=code))
    stage.echo(f"  verified: the token is valid until {found.expires_at}; store it, no endpoint returns it again")
    request = AccessCodeRequest(client_id="client_lookup", provider_id="prov_gym_standard")
    made = await stage.bardge.access_codes.generate(request, lookup_token=found.lookup_token)
    stage.echo(
        f"  access code {made.access_code}, valid until {made.expires_at}, "
        f"QR code of {len(made.qr_code or '')} characters"
    )
