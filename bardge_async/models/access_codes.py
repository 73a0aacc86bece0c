"""Access codes, which a client shows at check-in."""

from __future__ import annotations

import datetime as dt

import attrs

from bardge_async.models._base import UNSET, Body, FromGuide, Inferred, Mark, Optional, Resource, require_any, schema
from bardge_async.models._enums import Duration

__all__ = ["AccessCode", "AccessCodeRequest", "AccessCodeSession", "ConfirmAccessCode"]


@schema("AccessCodeV3Request", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class AccessCodeRequest(Body):
    """Request a check-in code; one code is for one visit (``AccessCodeV3Request``, guide; all fields inferred)."""

    client_id: Optional[str] = UNSET
    provider_id: Optional[str] = UNSET
    user_pass_id: Optional[str] = UNSET


@schema("ResellerV3AccessCodeResponse", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class AccessCode(Resource):
    """A check-in code, valid until the end of its day (``ResellerV3AccessCodeResponse``, guide).

    ``access_code`` is the raw token, ``qr_code`` its QR code as a data URI, ``expires_at`` an aware UTC datetime.
    """

    access_code: FromGuide[str] = None
    qr_code: FromGuide[str] = None
    expires_at: FromGuide[dt.datetime] = None
    object: Inferred[str] = None
    client_id: Inferred[str] = None
    message: Inferred[str] = None


@schema("ResellerV3AccessCodeSessionResponse", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class AccessCodeSession(Resource):
    """A check-in that must be confirmed; no published endpoint returns it.

    ``expires_at`` is an aware UTC datetime (``ResellerV3AccessCodeSessionResponse``: only the name is known).
    """

    session_id: Inferred[str] = None
    status: Inferred[str] = None
    expires_at: Inferred[dt.datetime] = None


@schema("ConfirmAccessCodeV3Request", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConfirmAccessCode(Body):
    """Confirm a check-in, with the fields of a class's confirmation.

    No published endpoint takes it (``ConfirmAccessCodeV3Request``: only the name is known).

    Raises:
        InvalidArgumentError: None of the three is given.
    """

    copay_package_id: Optional[str] = UNSET
    number_of_visits: Optional[int] = UNSET
    duration: Optional[Duration | str] = UNSET

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        require_any(self, "copay_package_id", "number_of_visits", "duration")
