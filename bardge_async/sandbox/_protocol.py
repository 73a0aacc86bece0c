"""HTTP below the endpoints: what cannot be read is answered with the API's error object, and logged in one line."""

from __future__ import annotations

import logging
from typing import Final

from aiohttp import web

from bardge_async.sandbox._errors import INVALID_REQUEST, VALIDATION_CODE, ErrorAnswer, internal_error, unreadable_error
from bardge_async.sandbox._responses import build_response, error_response, new_request_id

_DEFECT: Final = 500
_MAX_REASON: Final = 100
_log: Final = logging.getLogger("bardge_async.sandbox")


class SandboxProtocol(web.RequestHandler):
    """Serve one connection."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what never became a request, and defects of the sandbox, with the error object."""
        reason = _shorten(message)
        if status == _DEFECT:
            _log.error("A request failed", exc_info=exc)
        else:
            _log.info("A request from %s cannot be read: %s", request.remote, reason)
        if request.writer.output_size > 0:
            raise ConnectionError("part of the response is sent already")
        response = _answer(internal_error() if status == _DEFECT else unreadable_error(reason, status))
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response; where aiohttp itself refused the request, the error object in place of its text."""
        if isinstance(resp, web.HTTPException):
            resp = _answer(ErrorAnswer(resp.status, INVALID_REQUEST, VALIDATION_CODE, resp.reason))
        return await super().finish_response(request, resp, start_time)

    def log_exception(self, *args: object, **options: object) -> None:
        """Log an exception, unless it is a body that cannot be read, which was answered already."""
        if not isinstance(options.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **options)


async def read_body(request: web.Request) -> bytes:
    """Return a request's body.

    Raises:
        ErrorAnswer: It is too large, or not encoded as its headers say.
    """
    try:
        return await request.read()
    except web.HTTPException as error:
        raise ErrorAnswer(error.status, INVALID_REQUEST, VALIDATION_CODE, error.reason) from None
    except web.RequestPayloadError as error:
        # The text is "400, message:" and the reason on the next line.
        raise unreadable_error(_shorten(str(error).partition("\n")[2] or str(error))) from None


def _answer(refusal: ErrorAnswer) -> web.Response:
    return build_response(error_response(refusal, new_request_id()))


def _shorten(text: str | None) -> str:
    """Return the first line: the others quote the request, which may hold a key."""
    return (text or "").strip().partition("\n")[0].rstrip(":")[:_MAX_REASON] or "bad request"
