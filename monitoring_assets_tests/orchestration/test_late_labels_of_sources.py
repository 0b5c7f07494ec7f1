"""Labels in a database, or at an address, are read again every night until their day is mature, as a function's are."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from monitoring_assets.monitor_spec import days_between
from monitoring_assets_tests import postgres_server
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import example_rows, write_day, write_labels, write_reference
from monitoring_assets_tests.orchestration.test_nightly import DAYS, DELAY, ROWS, YESTERDAY, asked_at_night, run

pytestmark = [pytest.mark.long, pytest.mark.file_only]

Publish = Callable[[dict[date, dict[str, int]]], None]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dict[str, Any], Publish]]:
    """A real PostgreSQL, whose table of outcomes is what is known of all days."""
    if postgres_server.missing() is not None:
        pytest.skip(str(postgres_server.missing()))
    from adbc_driver_postgresql import dbapi

    with postgres_server.running() as address, dbapi.connect(address, autocommit=True) as connection:
        monkeypatch.setenv("EXAMPLE_DB", address)
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE outcomes (id text, at timestamptz, late int)")

            def publish(known: dict[date, dict[str, int]]) -> None:
                cursor.execute("DELETE FROM outcomes")
                for day, labels in known.items():
                    for name, label in labels.items():
                        at = f"'{day} 12:00 America/New_York'::timestamptz"
                        cursor.execute(f"INSERT INTO outcomes VALUES ('{name}', {at}, {label})")

            sql = 'SELECT id, late FROM outcomes WHERE "at" >= $1 AND "at" < $2'
            yield {"sql": sql, "uri_env": "EXAMPLE_DB"}, publish


@pytest.fixture
def address(tmp_path: Path) -> tuple[dict[str, Any], Publish]:
    """Files behind an address, which nobody can watch; all of them are there from the first day."""

    def publish(known: dict[date, dict[str, int]]) -> None:
        for day in DAYS:
            labels = pd.Series(known.get(day, {}), dtype="int64")
            write_labels(tmp_path, day, frame=pd.DataFrame({"id": labels.index.astype("str"), "late": labels.to_numpy()}))

    return {"path": f"file://{tmp_path}/labels/{{day}}.parquet"}, publish


@pytest.mark.parametrize("kind", ["database", "address"])
def test_a_label_that_comes_late_is_stored_while_its_day_is_open_and_read_once_more_when_it_is_mature(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    source, publish = request.getfixturevalue(kind)
    publish({})
    write_reference(tmp_path, days_between(date(2026, 2, 20), date(2026, 2, 23)), ROWS)
    for day in DAYS:
        write_day(tmp_path, day, ROWS)
    settings: dict[str, Any] = {
        "start_day": str(DAYS[0]),
        "reference": {"path": "reference.parquet"},
        "drift": {"windows_days": [1]},
        "label": {"column": "late", "delay_days": DELAY, "lateness_days": 2},
        "labels": source,
    }
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, **settings)
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.run_days("daily", DAYS[0], DAYS[-1]))
        open_days = (str(DAYS[-DELAY]), str(YESTERDAY), False)
        night = asked_at_night(monitor)
        assert open_days in night
        run(monitor, night)
        assert monitor.rows("FROM example.labels") == []
        late = [str(name) for name in example_rows(YESTERDAY, ROWS)["id"][:2]]
        publish({YESTERDAY: {late[0]: 1}})
        assert asked_at_night(monitor) == [open_days]
        run(monitor, [open_days])
        assert monitor.rows("SELECT prediction_id, label FROM example.labels") == [(late[0], 1.0)]
        publish({YESTERDAY: {late[0]: 0, late[1]: 1}})  # what was known is corrected, and more comes
        mature = [asked for asked in asked_at_night(monitor, DELAY) if asked[0] <= str(YESTERDAY) <= asked[1]]
        assert [asked[2] for asked in mature] == [True]  # read, and measured
        run(monitor, mature)
        assert monitor.rows("SELECT prediction_id, label FROM example.labels ORDER BY 1") == [(late[0], 0.0), (late[1], 1.0)]
