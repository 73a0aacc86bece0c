"""Fields of model classes."""

from __future__ import annotations

from typing import Any

import attrs


def list_field_names(cls: type[Any]) -> list[str]:
    """Return the names of a class's fields, in order, without ``extra``."""
    return [field.name for field in attrs.fields(cls) if field.name != "extra"]
