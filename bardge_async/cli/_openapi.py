"""``bardge openapi``: the document as JSON or YAML."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import cast

import click

from bardge_async.openapi import document


def render_document(*, as_yaml: bool, server: str | None) -> str:
    """Return the document as text."""
    api = document(server) if server else document()
    return _render_yaml(api) if as_yaml else json.dumps(api, indent=2, ensure_ascii=False)


def _render_yaml(api: object) -> str:
    try:
        import yaml
    except ModuleNotFoundError:
        raise click.ClickException("YAML needs an extra: pip install 'bardge-async[cli,yaml]'") from None

    class Plain(yaml.SafeDumper):
        """Write shared objects in full instead of as YAML aliases."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    # The stubs of 2026-11-22 leave a type unknown.
    dump = cast("Callable[..., str]", yaml.dump)  # pyright: ignore[reportUnknownMemberType]
    return dump(api, Dumper=Plain, sort_keys=False, allow_unicode=True, width=120).rstrip()
