"""What the fields of products and stock take."""

from typing import Annotated

import msgspec

from mercato.kernel.text import LINE_PATTERN
from mercato.products.domain import MAX_QUANTITY, SKU_PATTERN, SKU_WORDS

Quantity = Annotated[int, msgspec.Meta(ge=0, le=MAX_QUANTITY)]
Sku = Annotated[str, msgspec.Meta(pattern=SKU_PATTERN, description=SKU_WORDS)]
Name = Annotated[
    str, msgspec.Meta(max_length=200, pattern=LINE_PATTERN, description="one line of 1 to 200 characters")
]
Description = Annotated[str, msgspec.Meta(max_length=10_000)]
Category = Annotated[
    str, msgspec.Meta(max_length=100, pattern=LINE_PATTERN, description="one line of 1 to 100 characters")
]
Reason = Annotated[
    str, msgspec.Meta(max_length=200, pattern=LINE_PATTERN, description="one line of 1 to 200 characters")
]
