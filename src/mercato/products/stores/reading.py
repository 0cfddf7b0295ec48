"""The catalogue as it is read, straight from its rows."""

from collections.abc import Sequence

from mercato.adapters.sql.batches import among, joined
from mercato.adapters.sql.database import Database
from mercato.contracts.product_reading import Inventory, Product
from mercato.kernel.tenancy import TenantId
from mercato.products.stores.rows import IN_CATALOGUE, PRODUCTS, STOCK, load_inventory, load_product


class SqlCatalogueReads:
    """See products.ports.CatalogueReads."""

    def __init__(self, db: Database) -> None:
        self._db = db
        ids = among(db.dialect)
        self._many = f"{PRODUCTS} WHERE p.tenant_id = ? AND p.id {ids} AND p.shelf > 0"
        self._inventories = f"{STOCK} WHERE i.tenant_id = ? AND i.product_id {ids}{IN_CATALOGUE}"

    async def many(self, tenant: TenantId, product_ids: Sequence[str]) -> list[Product]:
        """Return those of the products that are in the catalogue."""
        rows = await self._db.fetch_all(self._many, (tenant, joined(self._db.dialect, product_ids)))
        return [load_product(row) for row in rows]

    async def inventories(self, tenant: TenantId, product_ids: Sequence[str]) -> list[Inventory]:
        """Return the stock of those of the products that are in the catalogue."""
        rows = await self._db.fetch_all(self._inventories, (tenant, joined(self._db.dialect, product_ids)))
        return [load_inventory(row) for row in rows]
