"""The pytest plugin, as users' projects run it: each run is pytest in a process of its own."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = (Path(__file__).parents[2] / "docs" / "testing-your-integration.md").read_text(encoding="utf-8")
INI = """
[pytest]
asyncio_default_fixture_loop_scope = function
addopts = --strict-markers
filterwarnings = error
"""
CONFTEST = """
import sys

def pytest_sessionstart():
    assert "aiohttp" not in sys.modules
    assert "bardge_async.testing.plugin" in sys.modules
"""
BODIES = """
async def buy(client, sandbox):
    sandbox.cut_after("credits.purchase")
    async with client.idempotent("order-1") as once:
        await once.credits.purchase(PurchaseCredits(client_id="client_abc123", package_id="cpkg_50"))
    return once.attempts, len(sandbox.account())
"""
HEAD = f"""
import pytest

from bardge_async import PurchaseCredits
from bardge_async.sandbox import Fault
{BODIES}
"""
STRICT = f"""{HEAD}
pytestmark = [pytest.mark.asyncio, pytest.mark.bardge(seed=2, faults=[Fault(kind="status", status=502)])]

@pytest.mark.bardge(faults=[])
async def test_function_loop(bardge_client, bardge_sandbox):
    assert await buy(bardge_client, bardge_sandbox) == (2, 1)

@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.bardge(faults=[])
async def test_module_loop(bardge_client, bardge_sandbox):
    assert await buy(bardge_client, bardge_sandbox) == (2, 1)

@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.bardge(faults=[])
async def test_session_loop(bardge_client, bardge_sandbox):
    assert await buy(bardge_client, bardge_sandbox) == (2, 1)

async def test_markers_add_up(bardge_client, bardge_sandbox):
    await bardge_client.clients.get("client_abc123")
    assert [request.status for request in bardge_sandbox.requests] == [502, 200]

@pytest.mark.bardge(window=5, seed=3)
async def test_seeds_differ(bardge_sandbox):
    assert bardge_sandbox.api_key != "{{key}}"

async def test_both_clocks_move(bardge_client, bardge_sandbox):
    before = bardge_sandbox.clock.wall()
    bardge_sandbox.clock.advance(91)
    assert bardge_client._caller.clock_reader.now().wall - before >= 91
"""
ANYIO = f"""{HEAD}
@pytest.mark.anyio
async def test_under_anyio(bardge_client, bardge_sandbox):
    assert await buy(bardge_client, bardge_sandbox) == (2, 1)

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_trio_is_skipped(bardge_client): ...
"""
MISUSE = """
import sys

import pytest

@pytest.fixture
def no_segno(monkeypatch):
    monkeypatch.setitem(sys.modules, "segno", None)

def test_sync(bardge_client): ...

@pytest.mark.asyncio
@pytest.mark.bardge(sed=1)
async def test_unknown_argument(bardge_client): ...

@pytest.mark.asyncio
@pytest.mark.bardge(1)
async def test_by_position(bardge_client): ...

@pytest.mark.asyncio
async def test_no_extra(no_segno, bardge_client): ...
"""
ASYNCIO_MARK = """
import pytest

@pytest.mark.asyncio
async def test_marked(bardge_client): ...
"""
AUTO = f"""{HEAD}
async def test_auto(bardge_client, bardge_sandbox):
    assert await buy(bardge_client, bardge_sandbox) == (2, 1)
"""
WITHOUT_ASYNCIO = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "pytest_asyncio" else find(name, package)
import pytest
sys.exit(pytest.main())
"""


def run_pytest(
    folder: Path, files: dict[str, str], *arguments: str, ini: str = "", command: tuple[str, ...] = ()
) -> str:
    """Run pytest over files in a folder and return what it prints."""
    for name, text in {"pytest.ini": INI + ini, "conftest.py": CONFTEST, **files}.items():
        (folder / name).write_text(text, encoding="utf-8")
    words = [sys.executable, *(command or ("-m", "pytest")), "-rA", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=60).stdout


def read_outcomes(output: str) -> dict[str, str]:
    """Read the outcome of each test."""
    lines = re.findall(r"^(PASSED|FAILED|ERROR) (\S+?)(?: - .*)?$", output, re.MULTILINE)
    return {name: outcome for outcome, name in lines}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One run under pytest-asyncio's strict mode and anyio's plugin, with the page's code among the tests."""
    blocks = re.findall(r"^```python\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
    files = {f"test_page_{number}.py": block for number, block in enumerate(blocks)}
    files |= {"test_strict.py": STRICT, "test_anyio.py": ANYIO, "test_misuse.py": MISUSE}
    return run_pytest(tmp_path_factory.mktemp("strict"), files)


def list_passed(output: str, file: str) -> list[str]:
    """Return the tests of a file that passed."""
    return [
        name for name, outcome in read_outcomes(output).items() if name.startswith(f"{file}::") and outcome == "PASSED"
    ]


def test_under_pytest_asyncio_strict(strict: str) -> None:
    """Fixtures and marker work in strict mode, in a loop of any scope."""
    assert len(list_passed(strict, "test_strict.py")) == 6, strict


def test_under_anyio(strict: str) -> None:
    """They work under anyio's plugin on asyncio, beside pytest-asyncio; a test on trio is skipped and says why."""
    assert len(list_passed(strict, "test_anyio.py")) == 1, strict
    assert "bardge_async runs on asyncio only" in strict


@pytest.mark.parametrize(("number", "tests"), [(0, 4), (1, 2), (2, 1)])
def test_page_is_true(strict: str, number: int, tests: int) -> None:
    """Every Python block of the page is a test file that passes as it stands."""
    assert len(list_passed(strict, f"test_page_{number}.py")) == tests, strict


def test_page_has_no_other_code() -> None:
    """The blocks above are all of the page's."""
    assert DOCS.count("```python\n") == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test_sync", "need the test's event loop"),
        ("test_unknown_argument", "takes seed=, .*; got sed"),
        ("test_by_position", "got arguments by position"),
        ("test_no_extra", r"pip install 'bardge-async\[testing\]' \(segno is missing\)"),
    ],
)
def test_misuse_is_told(strict: str, name: str, words: str) -> None:
    """A test that cannot work fails before it runs, with what to do and no traceback."""
    assert read_outcomes(strict)[f"test_misuse.py::{name}"] == "ERROR"
    assert re.search(words, strict)


def test_without_pytest_asyncio(tmp_path: Path) -> None:
    """anyio's plugin is enough; a test that needs the other one is told which extra is missing."""
    ini = "markers = asyncio: as of the plugin that is missing"
    bare = INI.replace("asyncio_default_fixture_loop_scope = function\n", "") + ini
    files = {"test_anyio.py": ANYIO, "test_marked.py": ASYNCIO_MARK, "pytest.ini": bare}
    output = run_pytest(tmp_path, files, "-p", "no:asyncio", command=("-c", WITHOUT_ASYNCIO))
    assert read_outcomes(output) == {
        "test_anyio.py::test_under_anyio[asyncio]": "PASSED",
        "test_marked.py::test_marked": "ERROR",
    }
    assert "pip install 'bardge-async[testing]' (pytest-asyncio is missing)" in output


def test_under_pytest_asyncio_auto(tmp_path: Path) -> None:
    """In auto mode no marker is needed."""
    output = run_pytest(tmp_path, {"test_auto.py": AUTO}, ini="asyncio_mode = auto\n")
    assert read_outcomes(output) == {"test_auto.py::test_auto": "PASSED"}, output


def test_entry_point() -> None:
    """pytest finds the plugin by the package's entry point."""
    points = importlib.metadata.entry_points(group="pytest11", name="bardge")
    assert [point.value for point in points] == ["bardge_async.testing.plugin"]
