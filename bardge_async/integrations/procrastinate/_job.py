"""What stands in the queue for an operation: names and texts, no secrets."""

from __future__ import annotations

import functools
import json
from decimal import Decimal
from typing import Any, Final, Self, TypeAlias

import attrs

from bardge_async._batch import Operation
from bardge_async._core.custom_endpoints import apply_path_overrides, find_endpoint
from bardge_async._core.keys import operation_key
from bardge_async._core.request import RequestBuilder
from bardge_async._core.settings import DEFAULT_BASE_URL
from bardge_async.endpoints import Endpoint
from bardge_async.errors import InvalidArgumentError

# Only to check what is put into the queue: the worker's client knows the address.
_REQUEST_BUILDER: Final = RequestBuilder(DEFAULT_BASE_URL, apply_path_overrides(None))

JobArguments: TypeAlias = dict[str, Any]
"""A job's arguments, as JSON values."""


@attrs.frozen
class QueuedOperation:
    """An operation of a job, checked and made into JSON.

    ``body`` is the request's JSON as text, so that numbers keep every digit on their way through the database.
    """

    job: str
    row: str
    path: tuple[str, ...]
    body: str | None
    id: str
    key: str

    @classmethod
    def from_operation(cls, operation: Operation[Any, Any], job: str) -> Self:
        """Check an operation.

        Raises:
            InvalidArgumentError: It cannot be sent, or bears a lookup token.
        """
        endpoint = operation.endpoint
        if operation.lookup_token is not None:
            raise InvalidArgumentError(f"lookup_token: it is a secret, and never put into a queue ({endpoint.name})")
        for name, text in (("job", job), ("id", operation.id)):
            if "\0" in str(text):
                raise InvalidArgumentError(f"{name}: PostgreSQL keeps no NUL, got {text!r:.80}")
        key = operation_key(job, endpoint, operation.id)
        request = _REQUEST_BUILDER.build(endpoint, operation.path, request=operation.request, key=key, given=True)
        body = None if request.body is None else request.body.decode()
        return cls(job, endpoint.name, operation.path, body, operation.id, key)

    def to_arguments(self) -> JobArguments:
        """Return the job's arguments."""
        return {**attrs.asdict(self), "path": list(self.path)}

    def to_operation(self) -> Operation[Any, Any]:
        """Return the operation, with the same bytes in the end.

        Raises:
            InvalidArgumentError: Another version of this library has put it there, and knew more rows.
        """
        request = None if self.body is None else json.loads(self.body, parse_float=Decimal)
        return Operation(_endpoint_for_json(self.row), *self.path, request=request, id=self.id)


@functools.cache
def _endpoint_for_json(name: str) -> Endpoint[Any, Any]:
    """Return a row that takes its request as plain JSON: what is in the queue was checked when it was put there."""
    endpoint = find_endpoint(name)
    return attrs.evolve(endpoint, request=object) if endpoint.takes_body else endpoint
