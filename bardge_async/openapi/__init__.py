"""An OpenAPI 3.1 document of the API, made from the table and the models: it cannot say anything else than they do."""

from __future__ import annotations

from bardge_async.openapi._document import document

__all__ = ["document"]
