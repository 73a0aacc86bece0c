"""Folders that another user of the machine can enter, wherever the suite's temporary files are."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_ENTER_BY_OTHERS = 0o001


@contextmanager
def make_reachable_folder(mode: int) -> Generator[Path]:
    """Make a temporary folder below folders that everyone may enter: pytest's own, and a private TMPDIR, are not so."""
    places = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]  # noqa: S108 - files there get modes of their own
    place = next(place for place in places if _is_reachable(place))
    with tempfile.TemporaryDirectory(dir=place) as folder:
        Path(folder).chmod(mode)
        yield Path(folder)


def _is_reachable(place: Path) -> bool:
    return all(folder.stat().st_mode & _ENTER_BY_OTHERS for folder in (place, *place.parents))
