"""``bardge.bookings``: methods for the endpoints named ``bookings.*``."""

from __future__ import annotations

from bardge_async._core.secret import hide_token
from bardge_async._pagination import MAX_PAGE_SIZE, Walk, WalkOptions
from bardge_async._resources.caller import EndpointMethods
from bardge_async.endpoints import (
    CANCEL_BOOKING,
    CONFIRM_CLASS_BOOKING,
    CONFIRM_SPA_BOOKING,
    GET_BOOKING_STATUS,
    INITIATE_CLASS_BOOKING,
    INITIATE_SPA_BOOKING,
    LIST_CLIENT_BOOKINGS,
    RESCHEDULE_BOOKING,
)
from bardge_async.models import (
    BookClass,
    Booking,
    BookingStatus,
    BookSpa,
    ClassBookingInitiation,
    ConfirmClassBooking,
    RescheduleBooking,
    SpaBookingInitiation,
)


class Bookings(EndpointMethods):
    """Calls of ``bardge.bookings``."""

    async def initiate_class(self, request: BookClass, *, lookup_token: str | None = None) -> ClassBookingInitiation:
        """Request a place in a class; a covered class is booked immediately (page: Initiate a class booking).

        Otherwise the answer has a session to confirm: with a number of visits, or with a co-pay.
        ``lookup_token`` comes from a verified lookup, for a client of another issuer.
        """
        lookup_token = hide_token(lookup_token)
        return await self._caller.call(INITIATE_CLASS_BOOKING, request, lookup_token=lookup_token)

    async def confirm_class(self, session_id: str, request: ConfirmClassBooking) -> Booking:
        """Confirm a class booking; debits your account (page: Confirm a class booking)."""
        return await self._caller.call(CONFIRM_CLASS_BOOKING, request, session_id)

    async def initiate_spa(self, request: BookSpa, *, lookup_token: str | None = None) -> SpaBookingInitiation:
        """Request a slot at a spa (guide: Bookings).

        That the answer has a session to confirm is known; its other fields are inferred.
        ``lookup_token`` comes from a verified lookup, for a client of another issuer.
        """
        lookup_token = hide_token(lookup_token)
        return await self._caller.call(INITIATE_SPA_BOOKING, request, lookup_token=lookup_token)

    async def confirm_spa(self, session_id: str) -> Booking:
        """Confirm a spa booking (page: Confirm a spa booking)."""
        return await self._caller.call(CONFIRM_SPA_BOOKING, None, session_id)

    def list_for_client(
        self,
        client_id: str,
        *,
        limit: int | None = None,
        page_size: int = MAX_PAGE_SIZE,
        starting_after: str | None = None,
        ending_before: str | None = None,
        read_ahead: int = 1,
    ) -> Walk[Booking]:
        """Walk a client's bookings, newest first (guide: Bookings; order: page Pagination).

        Args:
            client_id: The client's id.
        """
        options = WalkOptions(limit, page_size, starting_after, ending_before, read_ahead)
        return self._caller.walk(LIST_CLIENT_BOOKINGS, options, client_id)

    async def get_status(self, booking_id: str) -> BookingStatus:
        """Get the status of a booking (path inferred)."""
        return await self._caller.call(GET_BOOKING_STATUS, None, booking_id)

    async def cancel(self, booking_id: str) -> Booking:
        """Cancel a booking (path inferred); nothing shows that the server honours its key."""
        return await self._caller.call(CANCEL_BOOKING, None, booking_id)

    async def reschedule(self, booking_id: str, request: RescheduleBooking) -> Booking:
        """Reschedule a booking: it is closed, and another one is made (guide: Bookings; path inferred)."""
        return await self._caller.call(RESCHEDULE_BOOKING, request, booking_id)
