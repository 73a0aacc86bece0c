"""Classes, their categories and dates; dates and times are local to the venue (guide: Bookings)."""

from __future__ import annotations

from typing import Final

from bardge_async.sandbox._errors import not_found
from bardge_async.sandbox._formats import seconds
from bardge_async.sandbox._pages import Listing, page
from bardge_async.sandbox._request import JSON, Call
from bardge_async.sandbox._store import Row

_CATEGORIES: Final = Listing("class_categories")
_COLUMNS: Final = (
    "classes.*, (SELECT id FROM providers p WHERE p.seq = provider) AS provider_id, "
    "(SELECT name FROM providers p WHERE p.seq = provider) AS provider_name"
)
_CLASSES: Final = Listing("classes", columns=_COLUMNS)


def list_class_categories(call: Call) -> JSON:
    """Answer ``classes.list_categories``: as a page, which is the sandbox's choice."""
    return page(call, _CATEGORIES, _category, noun="Class categories")


def _category(row: Row) -> JSON:
    return {"object": "class_category", "id": row["id"], "name": row["name"]}


def list_classes(call: Call) -> JSON:
    """Answer ``classes.list``, without the dates."""
    return page(call, _CLASSES, _fitness_class, noun="Classes")


def get_class(call: Call) -> JSON:
    """Answer ``classes.get`` with the dates that are still to come."""
    id = call.path["class_id"]
    row = call.store.one(f"SELECT {_COLUMNS} FROM classes WHERE id = ?", id)  # noqa: S608 - a constant
    if row is None:
        raise not_found("class", id)
    sql = "SELECT * FROM class_instances WHERE class = ? AND scheduled_for > ? ORDER BY scheduled_for"
    dates = [_instance(instance) for instance in call.store.all(sql, row["seq"], call.now)]
    return {**_fitness_class(row), "instances": dates}


def _fitness_class(row: Row) -> JSON:
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


def _instance(row: Row) -> JSON:
    return {
        "object": "class_instance",
        "id": row["id"],
        "date": row["date"],
        "time": row["time"],
        "scheduled_for": seconds(row["scheduled_for"]),
        "capacity": row["capacity"],
        "spots_left": row["capacity"] - row["taken"],
        "instructor": row["instructor"],
    }
