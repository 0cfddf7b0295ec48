"""Write each service's schema snapshot from its migrations: `make snapshot`."""

import tempfile
from importlib import resources
from pathlib import Path

from mercato.adapters.sql.schema import SNAPSHOT, Schema, migrated_snapshot

SERVICES = ("users", "products", "orders", "payments", "notifications")


def main() -> None:
    """Write the snapshots of all services that have migrations."""
    with tempfile.TemporaryDirectory() as folder:
        for service in SERVICES:
            schema = Schema(service, f"mercato.{service}.migrations")
            target = Path(str(resources.files(schema.package))) / SNAPSHOT
            target.write_text(migrated_snapshot(Path(folder) / f"{service}.db", schema))
            print(f"{service}: {target.name}")


if __name__ == "__main__":
    main()
