"""Whether the fence between stores stands: who the roles are, and what the database lets them see."""

from dataclasses import dataclass

from mercato.adapters.sql.postgres_faults import looking

_ROLE = "SELECT rolname, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
_OWNED = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
AND pg_has_role(current_user, relowner, 'MEMBER') ORDER BY 1
"""
_STORES = """
SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (
  SELECT 1 FROM pg_policies p WHERE p.schemaname = 'public' AND p.tablename = c.relname
  AND current_user = ANY (p.roles))
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND EXISTS (
  SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname IN ('tenant_id', 'key')
  AND a.attnum > 0 AND NOT a.attisdropped)
ORDER BY 1
"""
"""The tables of stores, and whether each is fenced."""


@dataclass(frozen=True, slots=True)
class Fence:
    """What a role may do that it should not. Everything is empty where the fence stands."""

    role: str
    is_above: bool
    """Whether it is a superuser, or bypasses row-level security."""
    owned: list[str]
    """Tables that are its own, or of a role that it can be."""
    open: list[str]
    """Tables of stores without the fence."""
    seen: list[str]
    """Tables of stores of which it sees rows without naming a store."""


async def fence_of(url: str, deadline_s: float) -> Fence:
    """Return what holds for the role of a URL. Raises what `looking` raises."""
    connection = await looking(url, deadline_s)
    try:
        ((role, is_above),) = await connection.fetch(_ROLE)
        owned = [name for (name,) in await connection.fetch(_OWNED)]
        stores = await connection.fetch(_STORES)
        seen = [
            name for name, _ in stores if await connection.fetchval(f'SELECT EXISTS (SELECT 1 FROM "{name}")')
        ]
    finally:
        connection.terminate()
    return Fence(role, is_above, owned, [name for name, is_fenced in stores if not is_fenced], seen)
