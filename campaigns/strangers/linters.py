"""Lint the document by the recommended rules of Redocly and Spectral: no error, and no warning beyond those listed."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, Final

from bardge_async.openapi import document
from campaigns.strangers.place import Fault, Place

REDOCLY: Final = "@redocly/cli@2.77.0"
SPECTRAL: Final = "@stoplight/spectral-cli@6.16.3"
SECONDS: Final = 90
_SCHEMAS: Final[dict[str, Any]] = document()["components"]["schemas"]
_REFERENCED: Final = set(re.findall(r"schemas/(\w+)", json.dumps(_SCHEMAS)))
_UNUSED: Final = {name for name, found in _SCHEMAS.items() if "x-bardge-unused" in found} - _REFERENCED
# The vendor lists schemas that no published endpoint uses; they are for client.request().
_REDOCLY_EXCEPTIONS: Final = {"no-unused-components": len(_UNUSED)}
# Until the project has a public address, there is no contact to give.
_SPECTRAL_EXCEPTIONS: Final = {"oas3-unused-component": len(_UNUSED), "info-contact": 1}


def run_redocly(place: Place) -> str:
    """Lint with Redocly; return what it reports."""
    command = str(place.npm(REDOCLY) / "redocly")
    path = str(place.document("https://api.example.org"))
    quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    words = (command, "lint", path, "--extends", "recommended", "--format", "json")
    output = place.command(*words, seconds=SECONDS, variables=quiet)
    problems: list[Any] = _read_json(output, "{")["problems"]
    return _judge({(found["ruleId"], found["severity"]) for found in problems}, problems, "ruleId", _REDOCLY_EXCEPTIONS)


def run_spectral(place: Place) -> str:
    """Lint with Spectral; return what it reports."""
    command = str(place.npm(SPECTRAL) / "spectral")
    path = str(place.document("https://api.example.org"))
    rules = place.folder / "rules.yaml"
    rules.write_text('extends: ["spectral:oas"]\n', encoding="utf-8")
    words = (command, "lint", path, "--ruleset", str(rules), "--format", "json", "--quiet", "--fail-severity", "error")
    problems: list[Any] = _read_json(place.command(*words, seconds=SECONDS), "[")
    return _judge({(found["code"], found["severity"]) for found in problems}, problems, "code", _SPECTRAL_EXCEPTIONS)


def _read_json(output: str, opening: str) -> Any:
    """Return the JSON value that a tool's output holds; around it, tools print remarks."""
    return json.JSONDecoder().raw_decode(output[output.index(opening) :])[0]


def _judge(kinds: set[Any], problems: list[Any], name: str, exceptions: dict[str, int]) -> str:
    counts = Counter(str(found[name]) for found in problems)
    if counts != exceptions:
        raise Fault(f"expected the listed exceptions {exceptions}, got {dict(counts)}: {sorted(map(str, kinds))}")
    return f"no error; listed exceptions: {', '.join(f'{rule} {count}' for rule, count in counts.items())}"
