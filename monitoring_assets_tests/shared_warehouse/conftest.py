"""A shared warehouse with a few labels, made anew for each test."""

import pytest

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.shared_warehouse.postgres_warehouse import PostgresWarehouse
from monitoring_assets.warehouse import ensure_tables, table, transaction
from monitoring_assets_tests.example_monitor import FIRST, SECOND, THIRD, example_spec
from monitoring_assets_tests.stores import Databases
from monitoring_assets_tests.test_warehouse import put_labels

DAYS = [FIRST, SECOND, THIRD]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> MonitorSpec:
    return example_spec(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def shared(databases: Databases, spec: MonitorSpec, tmp_path_factory: pytest.TempPathFactory) -> PostgresWarehouse:
    warehouse = databases.warehouse_in(tmp_path_factory.mktemp("home"), 0.3)
    with warehouse.connect() as connection:
        ensure_tables(connection, spec)
    return warehouse


@pytest.fixture
def warehouse(shared: PostgresWarehouse, spec: MonitorSpec) -> PostgresWarehouse:
    """A warehouse that holds label 1.0 for each of the days, and nothing else."""
    with shared.connect() as connection, transaction(connection):
        for name in ("labels", "baselines", "baseline_profiles", "baseline_sample", "profile_grids"):
            connection.execute(f"DELETE FROM {table(spec, name)}")
    with shared.connect() as connection:
        for day in DAYS:
            put_labels(connection, spec, day, 1.0)
    return shared
