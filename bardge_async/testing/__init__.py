"""Test your integration: a fake transport and clocks here, sandbox fixtures in the pytest plugin.

See ``docs/testing-your-integration.md``. The fixtures need the extra ``testing``; the names exported here do not.
"""

from __future__ import annotations

from bardge_async.testing._clocks import ManualClock, ManualTimer, MovableClock, SkippingClock
from bardge_async.testing._transport import FakeTransport, json_response

__all__ = ["FakeTransport", "ManualClock", "ManualTimer", "MovableClock", "SkippingClock", "json_response"]
