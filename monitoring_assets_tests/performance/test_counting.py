"""Laws of counting in DuckDB: what it finds is what the same rows give in memory, by day, segment and model version."""

import math
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.performance.counting import read_counts, write_counts
from monitoring_assets.performance.counts import NUMBERS, PerformanceCounts, count_rows, pooled
from monitoring_assets.performance.metrics import metrics_of
from monitoring_assets.performance.windows import write_performance
from monitoring_assets_tests.example_monitor import FIRST, SECOND, THIRD, example_spec, example_warehouse

ROWS = 300
DAYS = [FIRST, SECOND, THIRD]


def stored_rows(day: date, rows: int = ROWS) -> pd.DataFrame:
    """Rows as `inference_log` has them, with `label`: some scores, labels, classes, countries, versions and weights missing."""
    random = np.random.default_rng(day.toordinal())
    score = random.beta(2, 3, rows)
    return pd.DataFrame(
        {
            "day": day,
            "id": [f"{day}-{i:04d}" for i in range(rows)],
            "at": pd.Timestamp(day, tz="UTC") + pd.to_timedelta(np.arange(rows), unit="s"),
            "amount": 1.0,
            "items": 1.0,
            "country": random.choice(["US", "DE", None], rows),
            "score": np.where(random.random(rows) < 0.05, np.nan, score),
            "predicted": random.choice(["1", "0", "True", " false", None], rows),
            "model": random.choice(["1", "2", None], rows, p=[0.6, 0.3, 0.1]),
            "stands_for": random.choice([1.0, 10.0, 0.0, None], rows),
            "label": np.where(random.random(rows) < 0.2, np.nan, random.random(rows) < score),
        }
    )


def store(connection: duckdb.DuckDBPyConnection, frame: pd.DataFrame) -> None:
    log, labels = frame.drop(columns="label"), frame[["day", "id", "label"]].dropna().rename(columns={"id": "prediction_id"})
    connection.register("log_rows", log)
    connection.register("label_rows", labels)
    columns = [row[0] for row in connection.execute('DESCRIBE example."inference_log"').fetchall()]
    listed = ", ".join(f'"{name}"' for name in log.columns if name in columns)
    connection.execute(f"INSERT INTO example.inference_log BY NAME SELECT {listed} FROM log_rows")
    connection.execute("INSERT INTO example.labels BY NAME SELECT * FROM label_rows")


def same(found: PerformanceCounts, expected: PerformanceCounts) -> None:
    for name in NUMBERS:
        one, other = getattr(found, name), getattr(expected, name)
        assert one == (pytest.approx(other, rel=1e-11, abs=1e-9) if isinstance(other, float) else other), name
    for part in ("lowers", "uppers", "ones", "zeros"):
        assert np.allclose(getattr(found.scores, part), getattr(expected.scores, part), rtol=1e-12, atol=0)


@pytest.mark.parametrize("weighing", ["plain", "weighted"])
def test_each_days_counts_are_those_of_its_rows(tmp_path: Path, weighing: str) -> None:
    weight = {"sampling_weight": "stands_for"} if weighing == "weighted" else {}
    spec = example_spec(tmp_path, segments=["country"], **weight)
    frames = {day: stored_rows(day) for day in DAYS}
    with example_warehouse(tmp_path, spec) as connection:
        for frame in frames.values():
            store(connection, frame)
        write_counts(connection, spec, DAYS)
        found = read_counts(connection, spec, FIRST, THIRD)
    expected = {}
    for day, frame in frames.items():
        for segment, part in [(None, frame), *((f"country={name}", rows) for name, rows in frame.groupby("country"))]:
            for version, rows in part.groupby("model", dropna=False):
                weights = rows["stands_for"].fillna(1.0) if weight else None
                key = (day, segment, None if pd.isna(version) else version)
                expected[key] = count_rows(rows["label"], rows["score"], rows["predicted"], "classification", 0.5, weights)
    assert set(found) == set(expected)
    for key, counts in expected.items():
        same(found[key], counts)


def test_a_regressions_counts_are_those_of_its_rows(tmp_path: Path) -> None:
    """Labels near a million: summed up plainly, their squares would have lost the digits that r2 needs."""
    spec = example_spec(tmp_path, prediction={"value": "score", "model_version": "model"})
    frame = stored_rows(FIRST).assign(predicted=None)
    frame["label"] = 1e6 + 10 * frame["label"]
    frame["score"] = 1e6 + 10 * frame["score"]
    with example_warehouse(tmp_path, spec) as connection:
        store(connection, frame)
        write_counts(connection, spec, [FIRST])
        together = pooled(list(read_counts(connection, spec, FIRST, FIRST).values()))
    found, expected = (
        metrics_of(c, "regression") for c in (together, count_rows(frame["label"], frame["score"], None, "regression"))
    )
    for metric in found:
        assert found[metric].value == pytest.approx(expected[metric].value, rel=1e-9)


def test_a_class_that_cannot_be_read_undefines_what_needs_it_and_is_shown(tmp_path: Path) -> None:
    spec = example_spec(tmp_path)
    frame = stored_rows(FIRST).assign(score=0.3, label=1.0)
    frame.loc[3, "predicted"] = "Late"
    with example_warehouse(tmp_path, spec) as connection:
        store(connection, frame)
        measured = write_performance(connection, spec, [FIRST])
    of = measured[measured["model_version"].isna() & (measured["window_days"] == 1)].set_index("metric")
    assert of.loc["accuracy", "reason"] == "predicted class must be 0 or 1, true or false, found 'Late'"
    assert of.loc["log_loss", "value"] == pytest.approx(-math.log(0.3))
    assert of.loc["auc", "reason"] == "auc needs both classes, found only 1"


def performance(connection: duckdb.DuckDBPyConnection, where: str) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT day, window_days, days_present, segment, model_version, value, row_count, labelled_rows "
        f"FROM example.performance WHERE {where} ORDER BY ALL"
    ).fetchall()


@pytest.fixture
def measured_days(tmp_path: Path) -> tuple[Path, MonitorSpec, pd.DataFrame]:
    spec = example_spec(tmp_path, segments=["country"], performance={"windows_days": [1, 3]})
    return tmp_path, spec, pd.concat([stored_rows(day, rows) for day, rows in zip(DAYS, (300, 20, 150), strict=True)])


def test_a_windows_metric_is_that_of_its_rows_not_the_mean_of_its_days(measured_days) -> None:
    home, spec, frame = measured_days
    with example_warehouse(home, spec) as connection:
        store(connection, frame)
        write_performance(connection, spec, DAYS)
        for segment, rows in [(None, frame), ("country=US", frame[frame["country"] == "US"])]:
            for version, part in [(None, rows), ("2", rows[rows["model"] == "2"])]:
                expected = metrics_of(
                    count_rows(part["label"], part["score"], part["predicted"], "classification"), "classification"
                )
                where = "segment IS NOT DISTINCT FROM ? AND model_version IS NOT DISTINCT FROM ? AND day = ? AND window_days = 3"
                found = connection.execute(
                    f"SELECT metric, value, days_present FROM example.performance WHERE {where}", [segment, version, THIRD]
                ).fetchall()
                assert {metric: value for metric, value, _ in found} == {
                    metric: pytest.approx(measured.value, rel=1e-11) for metric, measured in expected.items()
                }
                assert {days for _, _, days in found} == {3}


def test_in_whatever_order_days_are_measured_and_labels_come_the_table_ends_the_same(measured_days) -> None:
    """Late labels of the first day change the windows of the days after it."""
    home, spec, frame = measured_days
    with example_warehouse(home / "at_once", spec) as connection:
        store(connection, frame)
        write_performance(connection, spec, DAYS)
        expected = performance(connection, "true")
    with example_warehouse(home / "late", spec) as connection:
        late = frame["day"] == FIRST
        store(connection, frame.assign(label=frame["label"].where(~late)))
        for day in (SECOND, THIRD, FIRST):
            write_performance(connection, spec, [day])
        assert performance(connection, "labelled_rows > 0") != expected
        connection.execute("DELETE FROM example.inference_log WHERE day = ?", [FIRST])
        store(connection, frame[late])
        write_performance(connection, spec, [FIRST])
        assert str(performance(connection, "true")) == str(expected)


def test_days_that_an_earlier_version_measured_keep_their_metrics_and_are_counted_when_a_window_needs_them(measured_days) -> None:
    home, spec, frame = measured_days
    with example_warehouse(home, spec) as connection:
        store(connection, frame)
        connection.execute("DROP TABLE example.performance; DROP TABLE example.performance_counts")
        connection.execute(
            "CREATE TABLE example.performance (day DATE, segment VARCHAR, metric VARCHAR, value DOUBLE, row_count BIGINT, "
            "labelled_rows BIGINT, reason VARCHAR)"
        )
        connection.execute(f"INSERT INTO example.performance VALUES (DATE '{FIRST}', NULL, 'auc', 0.5, 300, 240, NULL)")
    with example_warehouse(home, spec) as connection:
        assert performance(connection, "true") == [(FIRST, 1, 1, None, None, 0.5, 300, 240)]
        write_performance(connection, spec, [THIRD])
        found = performance(connection, "window_days = 3 AND segment IS NULL AND model_version IS NULL AND metric = 'auc'")
        assert [(row[2], row[6]) for row in found] == [(3, len(frame))]


def test_errors_too_large_for_a_number_are_no_small_errors_when_they_are_read_again(tmp_path: Path) -> None:
    """One forecast of 1e200 in a day: its square is no 64-bit float."""
    spec = example_spec(tmp_path, prediction={"value": "score", "model_version": "model"})
    frame = stored_rows(FIRST).assign(predicted=None, model="1")
    frame.loc[7, ["score", "label"]] = [1e200, 1.0]
    with example_warehouse(tmp_path, spec) as connection:
        store(connection, frame)
        write_counts(connection, spec, [FIRST])
        (counts,) = read_counts(connection, spec, FIRST, FIRST).values()
    found = metrics_of(counts, "regression")
    assert found["rmse"].value == math.inf
    assert found["mae"].value > 1e190


@pytest.mark.parametrize("rows_are_kept", [True, False])
def test_what_an_earlier_version_did_not_count_is_counted_now_or_said_to_be_missing(
    measured_days: tuple[Path, MonitorSpec, pd.DataFrame], rows_are_kept: bool
) -> None:
    home, spec, frame = measured_days
    with example_warehouse(home, spec) as connection:
        store(connection, frame)
        write_performance(connection, spec, DAYS)
        connection.execute("UPDATE example.performance_counts SET signed_error = NULL, squared_error = NULL")
        if not rows_are_kept:
            connection.execute("DELETE FROM example.inference_log WHERE day < ?", [THIRD])
        measured = write_performance(connection, spec, [THIRD])
    of_window = measured[(measured["window_days"] == 3) & measured["model_version"].isna()].set_index("metric")
    expected = metrics_of(count_rows(frame["label"], frame["score"], frame["predicted"], "classification"), "classification")
    for metric in ("auc", "accuracy", "log_loss") + ("brier",) * rows_are_kept:
        assert of_window.loc[metric, "value"] == pytest.approx(expected[metric].value, rel=1e-11)
    if not rows_are_kept:
        assert math.isnan(of_window.loc["brier", "value"])
        assert of_window.loc["brier", "reason"].startswith("brier needs sums that an earlier version did not keep")
