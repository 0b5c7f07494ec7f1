"""Laws of a shared warehouse whose server is killed and started again, many times, while operations are under way."""

import threading
from pathlib import Path

import pytest

from monitoring_assets.errors import WarehouseUnavailable
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.shared_warehouse.postgres_warehouse import PostgresWarehouse
from monitoring_assets.warehouse import Scope, ensure_tables, transaction
from monitoring_assets_tests import postgres_server
from monitoring_assets_tests.example_monitor import FIRST, example_spec
from monitoring_assets_tests.postgres_server import Server
from monitoring_assets_tests.test_warehouse import labels, put_labels

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(postgres_server.missing() is not None, reason=str(postgres_server.missing())),
]
RESTARTS = 10


def killed_while_written(server: Server, warehouse: PostgresWarehouse, spec: MonitorSpec, label: float) -> None:
    """Replace a day, and lose the server before it is committed."""
    with warehouse.connect(Scope("example", (FIRST,))) as connection, transaction(connection):
        connection.execute("DELETE FROM example.labels")
        connection.execute("INSERT INTO example.serving (day, requests) VALUES (?, ?)", [FIRST, label])
        server.kill()


def test_a_server_killed_and_started_ten_times_holds_the_old_day_each_time_and_takes_the_new_one_afterwards(
    tmp_path: Path,
) -> None:
    spec = example_spec(tmp_path)
    with postgres_server.server() as server:
        warehouse = PostgresWarehouse(60, lambda _: None, server.address)
        with warehouse.connect() as connection:
            ensure_tables(connection, spec)
            put_labels(connection, spec, FIRST, 0.0)
        for turn in range(RESTARTS):
            with pytest.raises(WarehouseUnavailable, match=r"retried|does not answer"):
                killed_while_written(server, warehouse, spec, turn)
            again = threading.Timer(0.3, server.start)  # the next operation finds no server, and waits
            again.start()
            with warehouse.connect(Scope("example", (FIRST,))) as connection:
                assert labels(connection) == [(FIRST, float(turn), 100)]
                assert connection.execute("SELECT * FROM example.serving").fetchall() == []
                put_labels(connection, spec, FIRST, turn + 1.0)
            again.join()
