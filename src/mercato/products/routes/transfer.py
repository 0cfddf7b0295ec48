"""Importing and exporting the catalogue over HTTP."""

import csv
from collections.abc import AsyncGenerator, Callable
from decimal import Decimal
from functools import partial
from io import StringIO
from typing import Literal

import msgspec

from mercato.kernel.ids import ProductId
from mercato.kernel.money import to_decimal
from mercato.kernel.tenancy import TenantId
from mercato.products.domain.importing import Existing, ImportDiffers
from mercato.products.ports import Exported, ProductLists
from mercato.products.routes.import_lines import COLUMNS, CSV, NDJSON, FileOfProducts
from mercato.products.service.imports import ImportCall, Imports
from mercato.products.views import ImportView, import_view
from mercato.web.call import Call
from mercato.web.decode import Query
from mercato.web.endpoint import ADMINS, Routes
from mercato.web.envelope import Download, Upload, encode

DEADLINE_S = 3600.0
_PAGE = 500


class ImportQuery(Query, frozen=True):
    """What to do about products that are there already, and about lines with errors."""

    existing: Literal["update", "skip", "fail"] = "update"
    on_error: Literal["skip", "abort"] = "skip"


class ExportQuery(Query, frozen=True):
    """What kind of file to make."""

    format: Literal["ndjson", "csv"] = "ndjson"


class ExportedProduct(msgspec.Struct, frozen=True):
    """A line of an export, which an import takes."""

    sku: str
    name: str
    price: Decimal
    description: str | None
    category: str | None
    stock: int


def transfer(declared: Routes, imports: Imports, listed: ProductLists, *, max_import: int) -> None:
    """Declare the endpoints."""

    @declared.post(
        "/import",
        allow=ADMINS,
        idempotent=True,
        # A repeated call's file is read again, since its key stands for that file.
        reissues=True,
        accepts=(NDJSON, CSV),
        example={"sku": "MUG-01", "name": "Stoneware mug", "price": 14.5, "stock": 20},
        max_body=max_import,
        deadline_s=DEADLINE_S,
        raises=(ImportDiffers,),
    )
    async def import_products(call: Call, body: Upload, query: ImportQuery) -> ImportView:
        """Import products by SKU from a file, of NDJSON or of CSV with a header, while it arrives.

        With `on_error=abort` nothing is done unless every line can be. Otherwise lines with errors
        are left out, and a call that broke off goes on, with its Idempotency-Key, where it was.
        """

        def begun() -> None:
            call.begun = True

        def resumed() -> None:
            # It was told of with its first lines.
            call.note = None

        import_id = call.new_id()
        call.about("import", import_id)
        wanted = ImportCall(
            tenant=call.tenant,
            import_id=import_id,
            existing=Existing(query.existing),
            all_or_nothing=query.on_error == "abort",
            claim=call.claim,
            replayed=call.replayed,
            part=call.part,
            whole=partial(call.cause, import_view),
            begun=begun,
            resumed=resumed,
        )
        file = FileOfProducts(body.content_type, body.chunks)
        return import_view(await imports.run(wanted, file))

    @declared.get("/export", allow=ADMINS, produces=(NDJSON, CSV), deadline_s=DEADLINE_S)
    async def export_products(call: Call, query: ExportQuery) -> Download:
        """Export the catalogue with its stock, oldest first, as an import takes it."""
        write, kind = (_as_csv, f"{CSV}; charset=utf-8") if query.format == "csv" else (_as_ndjson, NDJSON)
        name = f"products-{call.tenant}.{query.format}"
        disposition = ("content-disposition", f'attachment; filename="{name}"')
        return Download(kind, _pieces(listed, call.tenant, write), (disposition,))


async def _pieces(
    listed: ProductLists, tenant: TenantId, write: Callable[[list[Exported], bool], bytes]
) -> AsyncGenerator[bytes, None]:
    last: ProductId | None = None
    while True:
        found = await listed.export(tenant, last, _PAGE)
        piece = write(found, last is None)
        if piece:
            yield piece
        if len(found) < _PAGE:
            return
        last = found[-1].product.id


def _as_ndjson(found: list[Exported], _first: bool) -> bytes:  # noqa: FBT001  both writers are called alike
    return b"".join(encode(_line(each)) + b"\n" for each in found)


def _as_csv(found: list[Exported], first: bool) -> bytes:  # noqa: FBT001
    text = StringIO(newline="")
    writer = csv.writer(text)
    if first:
        writer.writerow(COLUMNS)
    for each in found:
        writer.writerow(msgspec.structs.astuple(_line(each)))
    return text.getvalue().encode()


def _line(each: Exported) -> ExportedProduct:
    product = each.product
    return ExportedProduct(
        sku=product.sku,
        name=product.name,
        price=to_decimal(product.price, product.currency),
        description=product.description,
        category=product.category,
        stock=each.on_hand,
    )
