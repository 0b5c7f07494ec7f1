"""The order of the tests, and their stores: those that touch the warehouse run against the DuckDB file and against PostgreSQL."""

import os
from collections.abc import Iterator

import pytest

from monitoring_assets_tests import dagster_monitor, example_monitor, ingested_days, postgres_server, s3_server
from monitoring_assets_tests.stores import Databases

STORES = ["file", pytest.param("postgres", marks=[pytest.mark.long, pytest.mark.postgres])]
# A module that imports one of these touches the warehouse.
TOUCHING = (example_monitor.example_warehouse, dagster_monitor.DagsterMonitor, ingested_days.ingest, ingested_days.ingest_example)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is long is slow as well. The long ones begin, so that no process has one left when the others are done."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("long", "slow")])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    imported = vars(metafunc.module).values()
    if any(value is name for value in imported for name in TOUCHING) and not metafunc.definition.get_closest_marker("file_only"):
        metafunc.parametrize("store", STORES, indirect=True, scope="module")


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """A PostgreSQL server, with a database for each home that asks for one."""
    reason = postgres_server.missing()
    if reason:
        pytest.skip(reason)
    with postgres_server.running() as uri:
        yield Databases(uri)


@pytest.fixture(autouse=True, scope="module")
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the warehouse is. A fixture that outlives a test and makes a warehouse must ask for it."""
    kept_in = getattr(request, "param", "file")
    with pytest.MonkeyPatch.context() as patch:
        if kept_in == "postgres":
            databases = request.getfixturevalue("databases")
            for user in ("monitoring_assets.orchestration.resources", "monitoring_assets_tests.example_monitor"):
                patch.setattr(f"{user}.warehouse_in", databases.warehouse_in)
        yield kept_in


@pytest.fixture(scope="module")
def object_store() -> Iterator[s3_server.ObjectStore]:
    """A server with S3's API, and an environment that leads there and nowhere else."""
    with s3_server.running() as server, pytest.MonkeyPatch.context() as patch:
        for name in s3_server.without_a_store(os.environ):
            patch.delenv(name)
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
