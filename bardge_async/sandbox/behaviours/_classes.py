"""Classes, their categories and dates; dates and times are local to the venue (guide: Bookings)."""

from __future__ import annotations

from typing import Final

from bardge_async.sandbox._errors import not_found_error
from bardge_async.sandbox._formats import to_seconds
from bardge_async.sandbox._pages import Listing, render_page
from bardge_async.sandbox._request import JSON, SandboxRequest
from bardge_async.sandbox._store import Row

_CATEGORIES: Final = Listing("class_categories")
_COLUMNS: Final = (
    "classes.*, (SELECT id FROM providers p WHERE p.seq = provider) AS provider_id, "
    "(SELECT name FROM providers p WHERE p.seq = provider) AS provider_name"
)
_CLASSES: Final = Listing("classes", columns=_COLUMNS)


def list_class_categories(request: SandboxRequest) -> JSON:
    """Answer ``classes.list_categories``, paginated, which is the sandbox's choice."""
    return render_page(request, _CATEGORIES, _category_json, noun="Class categories")


def _category_json(row: Row) -> JSON:
    return {"object": "class_category", "id": row["id"], "name": row["name"]}


def list_classes(request: SandboxRequest) -> JSON:
    """Answer ``classes.list``, without the dates."""
    return render_page(request, _CLASSES, _class_json, noun="Classes")


def get_class(request: SandboxRequest) -> JSON:
    """Answer ``classes.get`` with the upcoming dates."""
    id = request.path["class_id"]
    row = request.store.fetch_one(f"SELECT {_COLUMNS} FROM classes WHERE id = ?", id)  # noqa: S608 - a constant
    if row is None:
        raise not_found_error("class", id)
    sql = "SELECT * FROM class_instances WHERE class = ? AND scheduled_for > ? ORDER BY scheduled_for"
    dates = [_instance_json(instance) for instance in request.store.fetch_all(sql, row["seq"], request.now_ms)]
    return {**_class_json(row), "instances": dates}


def _class_json(row: Row) -> JSON:
    return {
        "object": "class",
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "category": row["category"],
        "provider_id": row["provider_id"],
        "provider_name": row["provider_name"],
        "created": row["created"],
    }


def _instance_json(row: Row) -> JSON:
    return {
        "object": "class_instance",
        "id": row["id"],
        "date": row["date"],
        "time": row["time"],
        "scheduled_for": to_seconds(row["scheduled_for"]),
        "capacity": row["capacity"],
        "spots_left": row["capacity"] - row["taken"],
        "instructor": row["instructor"],
    }
