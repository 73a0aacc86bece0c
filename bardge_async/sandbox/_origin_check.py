"""Reject requests that web pages open in this machine's browser send; ``/_sandbox/`` is for this machine's programs only.

A page of another site can send forms to loopback, and after DNS rebinding to 127.0.0.1 it can read responses as well.
The first sends a foreign ``Origin``, and no JSON without a preflight; the second sends a ``Host`` that is not this
machine's.
"""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from bardge_async._core.settings import is_loopback

# An IPv6 address in brackets, or a name or IPv4 address, perhaps with a port.
_HOST: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?", re.ASCII)
# "none": the user entered the address.
_OWN_SITE: Final = frozenset({"same-origin", "none"})


class ControlError(Exception):
    """Reject a control request with a status and a reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check_control_request(request: web.Request, bound_host: str) -> None:
    """Check a control request's headers; ``bound_host`` is the name or address that the server was bound to.

    Raises:
        ControlError: It may come from a web page, or it is a change that is not JSON.
    """
    problem = find_foreign_header(request, bound_host, any_host=False)
    if problem is not None:
        raise ControlError(403, problem)
    if request.method != "GET" and request.headers.getall("Content-Type", []) != [_json_content_type(request)]:
        raise ControlError(415, "Content-Type: expected application/json")


def find_foreign_header(request: web.Request, bound_host: str, *, any_host: bool) -> str | None:
    """Return what shows that a request may come from a web page, if anything does.

    With ``any_host`` other programs may reach the server by any name, but web pages still may not.
    """
    hosts, origins = request.headers.getall("Host", []), request.headers.getall("Origin", [])
    is_own = len(hosts) == 1 and _is_own_host(hosts[0], bound_host)
    if not is_own and not any_host:
        return "Host: expected a loopback address, or the name that the sandbox was bound to"
    if any(not is_own or origin.lower() != f"http://{hosts[0]}".lower() for origin in origins):
        return "Origin: requests from other sites are not allowed"
    if any(site not in _OWN_SITE for site in request.headers.getall("Sec-Fetch-Site", [])):
        return "Sec-Fetch-Site: requests from other sites are not allowed"
    return None


def _json_content_type(request: web.Request) -> str | None:
    return request.headers.get("Content-Type") if request.content_type == "application/json" else None


def _is_own_host(host: str, bound_host: str) -> bool:
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = (found["six"] or found["name"]).lower()
    return is_loopback(name) or name == bound_host.lower()
