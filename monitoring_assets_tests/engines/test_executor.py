"""Laws of what runs inside an executor, without Spark: however rows are divided into tasks and batches, tables are the same."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from monitoring_assets.engines import executor
from monitoring_assets.engines.executor import Joining, Lake
from monitoring_assets.ingestion.labels import label_contract
from monitoring_assets.ingestion.prediction_log import log_contract
from monitoring_assets.measuring.fitting import fit_grids
from monitoring_assets.measuring.measure import Tables, Wanted
from monitoring_assets.measuring.watched import watched_rows
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets_tests.engines.lake_monitor import DAYS, SERVING, delivered_day, lake_spec
from monitoring_assets_tests.example_monitor import example_rows
from monitoring_assets_tests.measuring.test_measure import same

DAY = DAYS[0]


def arrived(day: date = DAY) -> pa.Table:
    rows = delivered_day(day, 400).drop_duplicates("id")
    return pa.Table.from_pandas(rows.assign(day=day), preserve_index=False)


def asked(home: Path) -> tuple[MonitorSpec, Lake, Wanted]:
    spec = lake_spec(home, serving=SERVING, segments=["country"])
    with duckdb.connect() as connection:
        connection.register("known", pa.Table.from_pandas(example_rows(DAY, 300)))
        grids = fit_grids(connection, watched_rows(spec, "known"), spec.watched_columns)
    contract = log_contract(spec)
    lake = Lake(spec, "lake", "day", contract.types, contract.event_time, contract.rules, (DAY,))
    return spec, lake, Wanted(grids, sample=True, serving=True, delivered=list(spec.log_columns))


def added(lake: Lake, wanted: Wanted, rows: Iterator[pa.RecordBatch]) -> Tables:
    with executor.connected(lake) as connection:
        return executor.added(connection, lake, wanted, (tables for row in rows for tables in executor.unpacked(row)))


@pytest.mark.slow  # each of its many small batches is some sixty queries
@pytest.mark.parametrize("tasks", [1, 3, 12])
def test_tasks_and_reducing_tasks_give_the_tables_of_all_rows(
    tmp_path: Path, tasks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, lake, wanted = asked(tmp_path)
    rows = arrived()
    whole = added(lake, wanted, executor.measured_batches(lake, wanted, rows.to_batches()))
    assert {row["rule"] for row in whole["delivered"].to_pylist()} >= {None, "not a number", "missing id", "wrong day"}
    monkeypatch.setattr(executor, "ROWS_AT_ONCE", 240 // tasks)
    monkeypatch.setattr(executor, "BATCHES_AT_ONCE", 3)
    step = -(-rows.num_rows // tasks)
    packed = [
        row
        for start in range(0, rows.num_rows, step)
        for row in executor.measured_batches(lake, wanted, rows.slice(start, step).to_batches(max_chunksize=5))
    ]
    same(added(lake, wanted, iter(packed)), whole)
    same(added(lake, wanted, executor.added_tasks(lake, wanted, packed)), whole)


@pytest.mark.slow
@pytest.mark.parametrize("buckets", [1, 5])
def test_predictions_and_labels_are_joined_alike_in_any_number_of_buckets(tmp_path: Path, buckets: int) -> None:
    spec, lake, _ = asked(tmp_path)
    assert spec.label is not None
    assert spec.labels is not None
    contract = label_contract(spec, spec.label, spec.labels)
    labels = replace(lake, types=contract.types, event_time=None, rules=contract.rules)
    ids = [f"{DAY}-{place:04d}" for place in range(60)] + ["nobody", None, f"{DAY}-0007", f"{DAY}-0008"]
    given = pa.table({"id": ids, "late": [str(place % 2) for place in range(62)] + ["1", "perhaps"], "day": [DAY] * 64})
    columns = ["*"]

    def found(number: int, joining: Joining) -> Tables:
        own = [f'"{name}"' for name in joining.columns_read(spec)]
        rows = [
            *executor.bucketed(lake, "log", own, number, arrived().to_batches()),
            *executor.bucketed(labels, "labels", columns, number, given.to_batches()),
        ]
        with executor.connected(lake) as connection:
            lake.judge(connection, arrived().slice(0, 0))
            none = connection.sql(f"SELECT * EXCLUDE (__reason, __source, __original) FROM {executor.DELIVERED}").to_arrow_table()
        parts = [
            part
            for bucket in range(number)
            for part in executor.joined(
                labels, joining, number, none, [row for row in rows if row["bucket"][0].as_py() == bucket]
            )
        ]
        if joining.columns:
            return {"rows": pa.concat_tables([tables["rows"] for part in parts for tables in executor.unpacked(part)])}
        return added(labels, joining.wanted, iter(parts))

    both = Joining(Wanted(labelled=True, delivered=["id", "late"]))
    same(found(buckets, both), found(1, both))
    rules = {row["rule"]: row["rows"] for row in found(buckets, both)["delivered"].to_pylist()}
    assert set(rules) == {None, "unknown id", "missing id", "repeated id", "not a number"}
    drawn = found(buckets, Joining(Wanted(), ("amount", "id"), 0.5))
    same(drawn, found(1, Joining(Wanted(), ("amount", "id"), 0.5)))
    everything = found(1, Joining(Wanted(), ("amount", "id")))["rows"]
    assert everything.num_rows == rules[None]
    assert 0 < drawn["rows"].num_rows < everything.num_rows
