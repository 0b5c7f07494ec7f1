"""The stores that tests of the warehouse run against: the DuckDB file, and a PostgreSQL database of each home's own.

A home that is copied takes its database with it, as it takes the file.
"""

import itertools
from collections.abc import Callable
from pathlib import Path

from monitoring_assets.shared_warehouse import server
from monitoring_assets.shared_warehouse.postgres_warehouse import PostgresWarehouse

# Says whose database a home has: the home's path, and the database's name. A copy of the home has the path of the original in it.
POINTER = ".database_of_this_home"
_NUMBERS = itertools.count()


class Databases:
    """Makes the databases of homes on one server."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def warehouse_in(
        self, folder: Path, patience_seconds: float = 60.0, report: Callable[[str], None] = print, monitor: str = ""
    ) -> PostgresWarehouse:
        """What `chosen_warehouse.warehouse_in` gives, with a database of the home's own."""
        return PostgresWarehouse(patience_seconds, report, self.address_of(folder))

    def address_of(self, home: Path) -> str:
        pointer = home / POINTER
        owner, _, name = pointer.read_text().partition("\n") if pointer.exists() else ("", "", "")
        if owner != str(home):
            name = self._new(template=name)
            home.mkdir(parents=True, exist_ok=True)
            pointer.write_text(f"{home}\n{name}")
        return self.uri.rpartition("/")[0] + f"/{name}"

    def _new(self, template: str) -> str:
        name = f"home_{next(_NUMBERS)}"
        server.close_idle()  # a database in use is no template
        with server.session(server.address(self.uri)) as session:
            session.connection.adbc_connection.set_autocommit(True)
            if template:  # nor is one that a killed process is still connected to
                session.rows(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{template}'")
            session.run(f"CREATE DATABASE {name}" + (f" TEMPLATE {template} STRATEGY FILE_COPY" if template else ""))
            session.connection.adbc_connection.set_autocommit(False)
        return name
