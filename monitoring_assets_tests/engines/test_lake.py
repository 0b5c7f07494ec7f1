"""Laws of rows that Spark measures where they lie: every table is the one that DuckDB makes of the same rows."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pandas as pd
import pytest

from monitoring_assets.drift.daily_scores import score_history
from monitoring_assets.engines.day_delivery import read_labels, read_log
from monitoring_assets.errors import RowsChanged, SourceUnreadable
from monitoring_assets.ingestion.delivery import Delivery
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.performance.windows import write_performance
from monitoring_assets.profiling.daily_profiles import profile_days
from monitoring_assets.profiling.serving import measure_serving
from monitoring_assets.quality.acceptance import acceptances
from monitoring_assets.quality.daily_findings import daily_findings
from monitoring_assets.retraining.candidates import labelled_features, plan_training
from monitoring_assets.warehouse import transaction
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.engines.lake_monitor import (
    DAYS,
    SERVING,
    delivered_day,
    lake_spec,
    needs_java,
    write_both,
    write_days,
)
from monitoring_assets_tests.example_monitor import (
    contents,
    example_spec,
    example_warehouse,
    reference_baseline,
    rounded,
    warehouse_of,
    write_file,
    write_labels,
    write_reference,
)

pytestmark = [needs_java, pytest.mark.long, pytest.mark.file_only]
MEASURED = ("daily_profile", "daily_sample", "drift_scores", "drift_verdicts", "serving", "profile_grids")


def both(home: Path, **overrides: Any) -> tuple[MonitorSpec, MonitorSpec]:
    """The monitor of the lake, and that of the files; each has a warehouse of its own."""
    given = {"serving": SERVING, "segments": ["country"], "reference": {"path": str(home / "reference.parquet")}, **overrides}
    lake = lake_spec(home, **given)
    files = example_spec(home, **{**given, "log": {"path": str(home / "log/{day}.parquet")}})
    return lake, files


def delivered(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date] = DAYS) -> list[Delivery]:
    with read_log(spec, days) as found:
        deliveries = found.store(connection)
    measure_serving(connection, spec, days, {}, found.tables)
    return deliveries


def scored(home: Path, spec: MonitorSpec, days: Sequence[date] = DAYS) -> dict[str, list[tuple[Any, ...]]]:
    """All that the daily assets store of these days."""
    with example_warehouse(home, spec) as connection:
        reference_baseline(connection, spec)
        delivered(connection, spec, days)
        for day in days:
            profile_days(connection, spec, [day])
    score_history(lambda: warehouse_of(home).connect(), spec, list(days))
    with example_warehouse(home, spec) as connection:
        return contents(connection, spec, *MEASURED)


def test_every_table_is_the_one_that_duckdb_makes_of_the_same_rows(tmp_path: Path) -> None:
    write_reference(tmp_path, rows=300)
    write_days(tmp_path, DAYS[:2])
    write_days(tmp_path, DAYS[2:], shift=8.0)  # leaves the reference's range, where bins are divided
    lake, files = both(tmp_path)
    found, expected = scored(tmp_path / "lake_home", lake), scored(tmp_path / "files_home", files)
    assert {name: len(rows) for name, rows in expected.items()} == {name: len(rows) for name, rows in found.items()}
    assert any(lower is not None for *_, lower, _ in expected["profile_grids"])
    for name, rows in expected.items():
        assert found[name] == rows, name


def test_rows_are_accounted_for_alike_and_none_is_stored(tmp_path: Path) -> None:
    write_days(tmp_path)
    lake, files = both(tmp_path)
    with example_warehouse(tmp_path / "lake_home", lake) as one, example_warehouse(tmp_path / "files_home", files) as other:
        assert delivered(one, lake) == delivered(other, files)
        counts = "SELECT day, delivered_rows, accepted_rows, quarantined_rows, other_columns FROM example.deliveries ORDER BY day"
        assert one.execute(counts).fetchall() == other.execute(counts).fetchall()
        refused = "SELECT day, reason, original FROM example.quarantine ORDER BY ALL"
        assert one.execute(refused).fetchall() == other.execute(refused).fetchall()
        assert one.execute("SELECT count(*) FROM example.inference_log").fetchall() == [(0,)]
        table = f"parquet.`{tmp_path / 'lake'}`"
        assert one.execute("SELECT sources FROM example.deliveries ORDER BY day").fetchall() == [
            ([f"{table} ({day})"],) for day in DAYS
        ]


def judged(home: Path, spec: MonitorSpec) -> tuple[Any, ...]:
    """What checks and labels say of the days, and all that they store."""
    with example_warehouse(home, spec) as connection:
        reference_baseline(connection, spec)
        delivered(connection, spec)
        found = [list(acceptances(connection, spec, "inference_log", DAYS)), daily_findings(connection, spec, DAYS)]
    with read_labels(spec, DAYS, lambda: example_warehouse(home, spec)) as labels, example_warehouse(home, spec) as connection:
        found.append([replace(each, new_columns=()) for each in labels.store(connection)])
        with transaction(connection):
            write_performance(connection, spec, DAYS)
        refused = "SELECT day, asset, reason, original FROM example.quarantine ORDER BY ALL"
        stored = contents(connection, spec, "quality", "performance_counts", "performance")
        return found, connection.execute(refused).fetchall(), stored


def test_checks_labels_and_performance_are_those_of_duckdb(tmp_path: Path) -> None:
    write_reference(tmp_path, rows=300)
    write_days(tmp_path)
    for day in DAYS:
        labels = write_labels(tmp_path, day, 900).assign(late=lambda some: some["late"].astype(str))
        labels.loc[3:9, "late"] = "perhaps"
        labels.loc[20:29, "id"] = [f"nobody-{place}" for place in range(10)]
        again = pd.concat([labels, labels.iloc[40:60], labels.iloc[15:25].assign(late="1")], ignore_index=True)
        write_both(tmp_path, day, again.sample(frac=1, random_state=4), "labels", "lake_labels")
    declared = [{"type": "expect_column_mean_to_be_between", "column": "items", "min_value": 0, "max_value": 5}]
    declared.append({"type": "expect_column_values_to_not_be_null", "column": "country", "mostly": 0.99})
    lake, files = both(tmp_path, quality={"expectations": declared})
    found, expected = judged(tmp_path / "lake_home", lake), judged(tmp_path / "files_home", files)
    for one, other in zip(found, expected, strict=True):
        assert one == other


def learnt(home: Path, spec: MonitorSpec) -> tuple[Any, ...]:
    """The baseline from a range of the log, with its metric, and the rows that a model is trained on."""
    with example_warehouse(home, spec) as connection:
        delivered(connection, spec)
    with read_labels(spec, DAYS, lambda: example_warehouse(home, spec)) as labels, example_warehouse(home, spec) as connection:
        labels.store(connection)
        reference_baseline(connection, spec)
        rows = labelled_features(connection, spec, DAYS[0], DAYS[1])
        names = ("baselines", "baseline_profiles", "baseline_sample", "baseline_facts", "profile_grids")
        return contents(connection, spec, *names), rows.to_dict("records"), plan_training(connection, spec)


def test_a_baseline_from_a_range_of_the_lake_and_training_rows_are_those_of_duckdb(tmp_path: Path) -> None:
    write_days(tmp_path)
    for day in DAYS:
        write_both(tmp_path, day, write_labels(tmp_path, day, 900), "labels", "lake_labels")
    chosen = {"reference": {"first_day": str(DAYS[0]), "last_day": str(DAYS[1])}, "label": {"column": "late", "delay_days": 0}}
    lake, files = both(tmp_path, **chosen)
    (found, rows, plan), expected = learnt(tmp_path / "lake_home", lake), learnt(tmp_path / "files_home", files)
    assert (rows, plan) == expected[1:]
    assert found["baselines"][0][-1] is not None
    for name, stored in expected[0].items():
        assert [rounded(row) for row in found[name]] == [rounded(row) for row in stored], name


def test_rows_that_changed_since_they_were_counted_are_not_measured(tmp_path: Path) -> None:
    write_reference(tmp_path, rows=300)
    write_both(tmp_path, DAYS[0], delivered_day(DAYS[0], 60))
    lake, _ = both(tmp_path)
    with example_warehouse(tmp_path / "lake_home", lake) as connection:
        reference_baseline(connection, lake)
        counted = delivered(connection, lake, DAYS[:1])[0].accepted_rows
        write_file(
            tmp_path / "lake" / f"day={DAYS[0]}" / "late.parquet", delivered_day(DAYS[0], 9).assign(id=lambda f: "late" + f["id"])
        )
        with pytest.raises(RowsChanged, match=f"{counted} were when example/inference_log of the day was materialised"):
            profile_days(connection, lake, DAYS[:1])
        assert contents(connection, lake, "daily_profile") == {"daily_profile": []}


def test_a_table_that_cannot_be_measured_says_why(tmp_path: Path) -> None:
    for table, said in (("no.such_table", "knows no such table"), (f"parquet.`{tmp_path / 'none'}`", "knows no such table")):
        spec = lake_spec(tmp_path, log={"table": table})
        with pytest.raises(SourceUnreadable, match=said), read_log(spec, DAYS[:1]):
            pass
    write_both(tmp_path, DAYS[0], delivered_day(DAYS[0], 60))
    for log, said in (
        ({"day_column": "ds"}, "column 'ds' is not in the table; .* `day_column` names the column that says a row's day"),
        ({"day_column": "took"}, "the day column 'took' holds double; a date or its text .* was expected"),
    ):
        spec = lake_spec(tmp_path, log={"table": f"parquet.`{tmp_path / 'lake'}`"} | log)
        with pytest.raises(SourceUnreadable, match=said), read_log(spec, DAYS[:1]):
            pass


def test_a_day_that_is_read_again_is_replaced_and_a_day_without_rows_is_empty(tmp_path: Path) -> None:
    write_both(tmp_path, DAYS[0], delivered_day(DAYS[0], 60))
    lake, _ = both(tmp_path)
    with example_warehouse(tmp_path / "lake_home", lake) as connection:
        first = delivered(connection, lake, DAYS[:2])
        assert delivered(connection, lake, DAYS[:2]) == first
        assert first[0].delivered_rows == 62
        assert (first[1].delivered_rows, first[1].unreadable) == (0, None)
        assert connection.execute("SELECT count(*) FROM example.deliveries").fetchall() == [(2,)]


def test_the_assets_and_checks_of_a_lake_run_in_dagster_and_show_what_those_of_files_show(tmp_path: Path) -> None:
    write_reference(tmp_path, rows=300)
    write_days(tmp_path, DAYS[:2])
    for day in DAYS[:2]:
        write_both(tmp_path, day, write_labels(tmp_path, day, 900), "labels", "lake_labels")
    shown = []
    for place, spec in enumerate(both(tmp_path, label={"column": "late", "delay_days": 0})):
        content = spec.model_dump(exclude_unset=True, mode="json")
        content["labels"] = content["labels"] if spec.is_in_lake else {"path": str(tmp_path / "labels/{day}.parquet")}
        with dg.DagsterInstance.ephemeral() as instance:
            monitor = DagsterMonitor(tmp_path / f"home{place}", instance, **content)
            succeeded(monitor.materialise("reference_baseline"))
            succeeded(monitor.run_days("daily", DAYS[0], DAYS[1]))
            succeeded(monitor.run_days("labels", DAYS[0], DAYS[1]))
            counts = [monitor.metadata("inference_log", day)["accepted_rows"] for day in DAYS[:2]]
            statuses = {check: monitor.statuses("inference_log", check) for check in ("accepted", "in_set", "not_null")}
            stored = monitor.tables("daily_profile", "drift_scores", "quality", "serving", "performance_counts", "performance")
            shown.append((counts, statuses, stored))
    assert shown[0] == shown[1]
