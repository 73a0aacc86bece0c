"""An operation as a job's arguments: plain JSON values, no secrets."""

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

# Used only to validate operations: the worker's client knows the real base URL.
_REQUEST_BUILDER: Final = RequestBuilder(DEFAULT_BASE_URL, apply_path_overrides(None))

JobArguments: TypeAlias = dict[str, Any]
"""A job's arguments, as JSON values."""


@attrs.frozen
class QueuedOperation:
    """An operation of a job, validated and serialized.

    ``body`` is the request's JSON as text, so that numbers keep every digit on their way through the database.
    """

    # Field names are the names of the stored job arguments: jobs that are already queued use them.
    job: str
    row: str
    path: tuple[str, ...]
    body: str | None
    id: str
    key: str

    @classmethod
    def from_operation(cls, operation: Operation[Any, Any], job: str) -> Self:
        """Validate and serialize an operation.

        Raises:
            InvalidArgumentError: It cannot be sent, or it has a lookup token.
        """
        endpoint = operation.endpoint
        if operation.lookup_token is not None:
            raise InvalidArgumentError(
                f"lookup_token: it is a secret and cannot be queued; send {endpoint.name} directly"
            )
        for name, text in (("job", job), ("id", operation.id)):
            if "\0" in str(text):
                raise InvalidArgumentError(f"{name}: PostgreSQL cannot store NUL, got {text!r:.80}")
        key = operation_key(job, endpoint, operation.id)
        request = _REQUEST_BUILDER.build(endpoint, operation.path, request=operation.request, key=key, given=True)
        body = None if request.body is None else request.body.decode()
        return cls(job, endpoint.name, operation.path, body, operation.id, key)

    def to_arguments(self) -> JobArguments:
        """Return the job's arguments."""
        return {**attrs.asdict(self), "path": list(self.path)}

    def to_operation(self) -> Operation[Any, Any]:
        """Return the operation; it is sent with the same bytes.

        Raises:
            InvalidArgumentError: This version does not know the endpoint: a newer one queued the job.
        """
        request = None if self.body is None else json.loads(self.body, parse_float=Decimal)
        return Operation(_endpoint_for_json(self.row), *self.path, request=request, id=self.id)


@functools.cache
def _endpoint_for_json(name: str) -> Endpoint[Any, Any]:
    """Return the endpoint with a plain JSON request: queued operations were validated when they were deferred."""
    endpoint = find_endpoint(name)
    return attrs.evolve(endpoint, request=object) if endpoint.takes_body else endpoint
