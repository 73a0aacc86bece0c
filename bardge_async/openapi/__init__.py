"""An OpenAPI 3.1 document of the API, generated from the endpoint table and the models, so that it agrees with them."""

from __future__ import annotations

from bardge_async.openapi._document import document

__all__ = ["document"]
