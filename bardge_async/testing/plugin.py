"""The pytest plugin: a sandbox and a client for each test.

The package's entry point loads it, and it imports nothing heavy until a fixture is used. Both fixtures run in the
test's event loop, under pytest-asyncio (strict or auto) or anyio's plugin.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import pytest

if TYPE_CHECKING:
    from bardge_async import BardgeClient
    from bardge_async.sandbox import Sandbox

_Scope: TypeAlias = Literal["function", "class", "module", "package", "session"]

_ASYNCIO: Final = importlib.util.find_spec("pytest_asyncio") is not None
_SETTINGS: Final = frozenset(
    {"seed", "window", "window_from", "latency", "cache_errors", "keyed", "drift", "resellers"}
)
_MARKER: Final = (
    "bardge(seed=, faults=[Fault(...)], window=, window_from=, latency=, cache_errors=, keyed=, drift=, resellers=): "
    "the settings of this test's bardge_sandbox; for each setting, the nearest marker wins."
)
_MISSING_EXTRA: Final = "the bardge fixtures need an extra: pip install 'bardge-async[testing]' (%s is missing)"
_NO_LOOP: Final = (
    "the bardge fixtures need the test's event loop: make it an `async def` test with @pytest.mark.asyncio "
    "(pytest-asyncio) or @pytest.mark.anyio"
)


class RunningSandbox(NamedTuple):
    """One test's sandbox and client."""

    sandbox: Sandbox
    client: BardgeClient


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def bardge_sandbox(_bardge: RunningSandbox) -> Sandbox:
    """A running sandbox for this test only; ``@pytest.mark.bardge(...)`` configures it."""
    return _bardge.sandbox


@pytest.fixture
def bardge_client(_bardge: RunningSandbox) -> BardgeClient:
    """A client of the sandbox, on its clock: ``bardge_sandbox.clock.advance(91)`` moves both; waits take no time."""
    return _bardge.client


@pytest.fixture
def _bardge(request: pytest.FixtureRequest) -> RunningSandbox:
    running: RunningSandbox = request.getfixturevalue(_fixture_for(request))
    return running


def _fixture_for(request: pytest.FixtureRequest) -> str:
    """Return the async fixture for the plugin that runs the test: each plugin runs only its own kind."""
    # The sandbox needs segno, which the extra installs.
    if importlib.util.find_spec("segno") is None:
        pytest.fail(_MISSING_EXTRA % "segno", pytrace=False)
    if "anyio_backend" in request.fixturenames:
        if request.getfixturevalue("anyio_backend_name") != "asyncio":
            pytest.skip("bardge_async runs on asyncio only")
        return "_bardge_under_anyio"
    if not _ASYNCIO:
        pytest.fail(_MISSING_EXTRA % "pytest-asyncio", pytrace=False)
    marker = request.node.get_closest_marker("asyncio")
    if marker is None:
        pytest.fail(_NO_LOOP, pytrace=False)
    scope = marker.kwargs.get("loop_scope") or request.config.getini("asyncio_default_test_loop_scope") or "function"
    return f"_bardge_under_asyncio_{scope}"


@pytest.fixture
async def _bardge_under_anyio(request: pytest.FixtureRequest) -> AsyncGenerator[RunningSandbox]:
    async with _run_sandbox(_read_markers(request)) as running:
        yield running


if _ASYNCIO:
    import pytest_asyncio

    def _make_fixture(scope: _Scope) -> object:
        @pytest_asyncio.fixture(loop_scope=scope, name=f"_bardge_under_asyncio_{scope}")
        async def fixture(request: pytest.FixtureRequest) -> AsyncGenerator[RunningSandbox]:
            async with _run_sandbox(_read_markers(request)) as running:
                yield running

        return fixture

    # One fixture per loop scope: a sandbox in a loop other than its test's would never answer.
    _in_function_loop = _make_fixture("function")
    _in_class_loop = _make_fixture("class")
    _in_module_loop = _make_fixture("module")
    _in_package_loop = _make_fixture("package")
    _in_session_loop = _make_fixture("session")


def _read_markers(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Merge the markers' settings, the nearest marker last."""
    settings: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("bardge"))):
        unknown = sorted(marker.kwargs.keys() - _SETTINGS - {"faults"})
        if unknown or marker.args:
            what = ", ".join(unknown) or "arguments by position"
            # The arguments' names are the part of the marker's description in parentheses.
            pytest.fail(f"@pytest.mark.bardge takes {_MARKER.split('): ')[0][7:]}; got {what}", pytrace=False)
        settings |= marker.kwargs
    return settings


@asynccontextmanager
async def _run_sandbox(settings: Mapping[str, Any]) -> AsyncGenerator[RunningSandbox]:
    from bardge_async import BardgeClient  # noqa: PLC0415 - only tests that use it pay for the import
    from bardge_async.sandbox import Sandbox  # noqa: PLC0415 - brings aiohttp
    from bardge_async.testing import SkippingClock  # noqa: PLC0415 - brings anyio

    own = {name: value for name, value in settings.items() if name != "faults"}
    async with Sandbox(**own) as sandbox:
        sandbox.faults.script(settings.get("faults", ()))
        clock = SkippingClock(sandbox.clock)
        async with BardgeClient(sandbox.api_key, sandbox.base_url, clock=clock) as client:
            yield RunningSandbox(sandbox, client)
