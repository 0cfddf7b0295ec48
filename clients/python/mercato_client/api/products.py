# Made by `make client` from the OpenAPI document; edits are lost.
"""The catalogue, and the stock of each product."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from decimal import Decimal
from typing import Literal

from msgspec import UNSET, UnsetType

from mercato_client.answers import Answer, Listed, Page, each_of
from mercato_client.models.products import (
    AdjustInventory,
    CreateProduct,
    EditProduct,
    ImportView,
    InventoryView,
    MovementView,
    ProductView,
    ReplaceProduct,
    SetInventory,
)
from mercato_client.transport import Request, Transport, decode, encode, new_key, path_of


class Products:
    """The catalogue, and the stock of each product."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(
        self,
        *,
        search: str | None = None,
        category: str | None = None,
        sku: str | None = None,
        min_price: Decimal | None = None,
        max_price: Decimal | None = None,
        in_stock: bool | None = None,
        sort: Literal["-created_at", "-name", "-price", "created_at", "name", "price"] | None = None,
        page: int | None = None,
        page_size: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: str | None = None,
        count: bool | None = None,
    ) -> Page[ProductView]:
        """List products, newest first unless sorted otherwise.

        `total_count` is left out where a search with further conditions finds too much to count.

        Needs no token.
        """
        request = Request(
            "GET",
            "/api/v1/products",
            query={
                "search": search,
                "category": category,
                "sku": sku,
                "min_price": min_price,
                "max_price": max_price,
                "in_stock": in_stock,
                "sort": sort,
                "page": page,
                "page_size": page_size,
                "limit": limit,
                "offset": offset,
                "after": after,
                "count": count,
            },
        )
        listed = decode(await self._transport.send(request), Listed[ProductView])
        return Page(listed.data, listed.meta)

    def iterate(
        self,
        *,
        search: str | None = None,
        category: str | None = None,
        sku: str | None = None,
        min_price: Decimal | None = None,
        max_price: Decimal | None = None,
        in_stock: bool | None = None,
        sort: Literal["-created_at", "-name", "-price", "created_at", "name", "price"] | None = None,
        limit: int = 100,
    ) -> AsyncIterator[ProductView]:
        """Go through the whole list, which is fetched page by page."""
        return each_of(
            lambda after: self.list(
                search=search,
                category=category,
                sku=sku,
                min_price=min_price,
                max_price=max_price,
                in_stock=in_stock,
                sort=sort,
                limit=limit,
                after=after,
                count=False,
            )
        )

    async def create(
        self,
        *,
        sku: str,
        name: str,
        price: Decimal,
        description: str | UnsetType | None = UNSET,
        category: str | UnsetType | None = UNSET,
        stock: int | UnsetType = UNSET,
        idempotency_key: str | None = None,
    ) -> ProductView:
        """Add a product to the catalogue.

        For the roles admin, operator, service.
        """
        request = Request(
            "POST",
            "/api/v1/products",
            content=encode(
                CreateProduct(
                    sku=sku, name=name, price=price, description=description, category=category, stock=stock
                )
            ),
            key=idempotency_key or new_key(),
        )
        return decode(await self._transport.send(request), Answer[ProductView]).data

    async def get(self, product_id: str) -> ProductView:
        """Show a product.

        Needs no token.
        """
        request = Request("GET", path_of("/api/v1/products/{product_id}", product_id=product_id))
        return decode(await self._transport.send(request), Answer[ProductView]).data

    async def replace(
        self,
        product_id: str,
        *,
        sku: str,
        name: str,
        price: Decimal,
        description: str | UnsetType | None = UNSET,
        category: str | UnsetType | None = UNSET,
        version: int | None = None,
    ) -> ProductView:
        """Replace what describes a product; its stock stays.

        For the roles admin, operator, service.
        """
        request = Request(
            "PUT",
            path_of("/api/v1/products/{product_id}", product_id=product_id),
            content=encode(
                ReplaceProduct(sku=sku, name=name, price=price, description=description, category=category)
            ),
            version=version,
        )
        return decode(await self._transport.send(request), Answer[ProductView]).data

    async def edit(
        self,
        product_id: str,
        *,
        sku: str | UnsetType = UNSET,
        name: str | UnsetType = UNSET,
        price: Decimal | UnsetType = UNSET,
        description: str | UnsetType | None = UNSET,
        category: str | UnsetType | None = UNSET,
        version: int | None = None,
    ) -> ProductView:
        """Change some of what describes a product.

        For the roles admin, operator, service.
        """
        request = Request(
            "PATCH",
            path_of("/api/v1/products/{product_id}", product_id=product_id),
            content=encode(
                EditProduct(sku=sku, name=name, price=price, description=description, category=category)
            ),
            version=version,
        )
        return decode(await self._transport.send(request), Answer[ProductView]).data

    async def delete(self, product_id: str, *, version: int | None = None) -> None:
        """Take a product out of the catalogue. Its SKU is free at once; its orders go on.

        For the roles admin, operator, service.
        """
        request = Request(
            "DELETE", path_of("/api/v1/products/{product_id}", product_id=product_id), version=version
        )
        await self._transport.send(request)

    async def inventory(self, product_id: str) -> InventoryView:
        """Show a product's stock.

        For everybody who is signed in.
        """
        request = Request("GET", path_of("/api/v1/products/{product_id}/inventory", product_id=product_id))
        return decode(await self._transport.send(request), Answer[InventoryView]).data

    async def set_inventory(
        self,
        product_id: str,
        *,
        stock_quantity: int,
        warehouse_location: str | UnsetType | None = UNSET,
        version: int | None = None,
    ) -> InventoryView:
        """Set what is on hand of a product.

        For the roles admin, operator, service.
        """
        request = Request(
            "PUT",
            path_of("/api/v1/products/{product_id}/inventory", product_id=product_id),
            content=encode(
                SetInventory(stock_quantity=stock_quantity, warehouse_location=warehouse_location)
            ),
            version=version,
        )
        return decode(await self._transport.send(request), Answer[InventoryView]).data

    async def movements(
        self,
        product_id: str,
        *,
        page: int | None = None,
        page_size: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: str | None = None,
        count: bool | None = None,
    ) -> Page[MovementView]:
        """List what has changed a product's stock, newest first.

        For the roles admin, operator, service.
        """
        request = Request(
            "GET",
            path_of("/api/v1/products/{product_id}/inventory/movements", product_id=product_id),
            query={
                "page": page,
                "page_size": page_size,
                "limit": limit,
                "offset": offset,
                "after": after,
                "count": count,
            },
        )
        listed = decode(await self._transport.send(request), Listed[MovementView])
        return Page(listed.data, listed.meta)

    def iterate_movements(self, product_id: str, *, limit: int = 100) -> AsyncIterator[MovementView]:
        """Go through the whole list, which is fetched page by page."""
        return each_of(lambda after: self.movements(product_id, limit=limit, after=after, count=False))

    async def adjust_inventory(
        self,
        product_id: str,
        *,
        delta: int,
        reason: str,
        version: int | None = None,
        idempotency_key: str | None = None,
    ) -> InventoryView:
        """Change what is on hand of a product by a difference.

        For the roles admin, operator, service.
        """
        request = Request(
            "POST",
            path_of("/api/v1/products/{product_id}/inventory/adjust", product_id=product_id),
            content=encode(AdjustInventory(delta=delta, reason=reason)),
            key=idempotency_key or new_key(),
            version=version,
        )
        return decode(await self._transport.send(request), Answer[InventoryView]).data

    async def import_(
        self,
        content: bytes | AsyncIterable[bytes],
        *,
        existing: Literal["fail", "skip", "update"] | None = None,
        on_error: Literal["abort", "skip"] | None = None,
        content_type: Literal["application/x-ndjson", "text/csv"] = "application/x-ndjson",
        idempotency_key: str | None = None,
    ) -> ImportView:
        """Import products by SKU from a file, of NDJSON or of CSV with a header, while it arrives.

        With `on_error=abort` nothing is done unless every line can be. Otherwise lines with errors
        are left out, and a call that broke off goes on, with its Idempotency-Key, where it was.

        For the roles admin, operator, service.
        """
        request = Request(
            "POST",
            "/api/v1/products/import",
            query={"existing": existing, "on_error": on_error},
            content=content,
            content_type=content_type,
            key=idempotency_key or new_key(),
        )
        return decode(await self._transport.send(request), Answer[ImportView]).data

    def export(self, *, format: Literal["csv", "ndjson"] | None = None) -> AsyncGenerator[bytes, None]:
        """Export the catalogue with its stock, oldest first, as an import takes it.

        For the roles admin, operator, service.
        """
        request = Request("GET", "/api/v1/products/export", query={"format": format})
        return self._transport.stream(request)
