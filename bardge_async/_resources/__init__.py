"""The client's methods, one class for each noun of the API."""

from __future__ import annotations

from bardge_async._resources.access_codes import AccessCodes
from bardge_async._resources.bookings import Bookings
from bardge_async._resources.caller import Caller
from bardge_async._resources.classes import Classes
from bardge_async._resources.clients import Clients
from bardge_async._resources.copay import Copay
from bardge_async._resources.credits import Credits
from bardge_async._resources.lookups import Lookups
from bardge_async._resources.passes import Passes
from bardge_async._resources.providers import Providers

__all__ = [
    "AccessCodes",
    "Bookings",
    "Classes",
    "Clients",
    "Copay",
    "Credits",
    "Lookups",
    "Passes",
    "Providers",
    "Resources",
]


class Resources:
    """A caller's resources, as attributes named after the API's nouns."""

    def __init__(self, caller: Caller) -> None:
        self.passes = Passes(caller)
        self.providers = Providers(caller)
        self.access_codes = AccessCodes(caller)
        self.classes = Classes(caller)
        self.bookings = Bookings(caller)
        self.copay = Copay(caller)
        self.credits = Credits(caller)
        self.lookups = Lookups(caller)
        self.clients = Clients(caller)
