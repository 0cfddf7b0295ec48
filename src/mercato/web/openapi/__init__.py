"""OpenAPI 3.1 from the endpoint declarations."""

from mercato.web.openapi.document import Described, document

__all__ = ["Described", "document"]
