"""Laws of the serving figures: quantiles are numpy's, weights stand for requests, dropped rows are counted by day."""

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from monitoring_assets.errors import SourceUnreadable
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.prediction_logging.segments import write_dropped
from monitoring_assets.profiling.serving import dropped_rows, measure_serving
from monitoring_assets.quality.expectations import expectations_of
from monitoring_assets.quality.facts import ReferenceFacts
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import (
    FIRST,
    SECOND,
    example_content,
    example_rows,
    example_spec,
    example_warehouse,
    write_day,
)
from monitoring_assets_tests.ingested_days import ingest_log

SERVING = {"latency_ms": "took", "error": "failure"}


def served_rows(day, rows: int, failed: int = 0) -> pd.DataFrame:
    """A day of which the n-th row took n ms and the first `failed` ended in an error."""
    frame = example_rows(day, rows).assign(took=np.arange(1.0, rows + 1), failure=None)
    frame.loc[: failed - 1, "failure"] = "ValueError: no amount"
    frame.loc[: failed - 1, "score"] = np.nan
    return frame


def measure(home, frame: pd.DataFrame, days=(FIRST,), **overrides):
    spec = example_spec(home, **{"serving": SERVING} | overrides)
    write_day(home, FIRST, frame=frame)
    with example_warehouse(home, spec) as connection:
        ingest_log(connection, spec, list(days))
        dropped = dropped_rows(spec, list(days))
        reported = measure_serving(connection, spec, list(days), dropped)
        again = measure_serving(connection, spec, list(days), dropped)
        assert reported == again
        assert connection.execute("SELECT count(*) FROM example.serving").fetchone() == (len(reported),)
        return reported


def test_a_day_by_hand(tmp_path) -> None:
    reported = measure(tmp_path, served_rows(FIRST, 200, failed=5))
    assert reported[FIRST] == {
        "requests": 200.0, "logged_rows": 200, "errors": 5, "error_rate": 0.025, "latency_p50_ms": 100.0,
        "latency_p95_ms": 190.0, "latency_p99_ms": 198.0, "dropped_rows": 0,
    }  # fmt: skip


@pytest.mark.slow
@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.just(np.inf), st.integers(0, 30).map(float)), st.booleans(), st.integers(1, 20)),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_a_weight_counts_like_that_many_requests(tmp_path_factory, rows: list[tuple[float | None, bool, int]]) -> None:
    frame = example_rows(FIRST, len(rows))
    took, failed, weight = zip(*rows, strict=True)
    frame = frame.assign(took=pd.Series(took, dtype=float), failure=np.where(failed, "boom", ""), weight=weight)
    reported = measure(tmp_path_factory.mktemp("home"), frame, sampling_weight="weight")[FIRST]
    assert (reported["requests"], reported["logged_rows"], reported["errors"]) == (sum(weight), len(rows), sum(failed))
    assert reported["error_rate"] == pytest.approx(np.dot(failed, weight) / sum(weight))
    repeated = [t for t, _, w in rows if t is not None and np.isfinite(t) for _ in range(w)]
    for share in (50, 95, 99):
        expected = np.percentile(repeated, share, method="inverted_cdf") if repeated else None
        assert reported[f"latency_p{share}_ms"] == expected


def test_dropped_rows_are_reported_also_of_a_day_without_a_row_and_a_damaged_note_by_name(tmp_path) -> None:
    tmp_path /= "prod [eu]"
    for day, name, rows in [(FIRST, "a", 3), (FIRST, "b", 4), (SECOND, "a", 5)]:
        write_dropped(tmp_path / "log", name + str(day), day, rows, "disk full")
    reported = measure(tmp_path, served_rows(FIRST, 10), days=(FIRST, SECOND))
    assert {day: row["dropped_rows"] for day, row in reported.items()} == {FIRST: 7, SECOND: 5}
    assert (reported[SECOND]["logged_rows"], reported[SECOND]["error_rate"]) == (0, None)
    (tmp_path / "log" / "_dropped-c.json").write_text("{")
    with pytest.raises(SourceUnreadable, match=r"_dropped-c\.json: a note of dropped rows was expected"):
        measure(tmp_path, served_rows(FIRST, 10))


def test_what_is_not_logged_is_unknown_and_not_zero(tmp_path) -> None:
    only_errors = measure(tmp_path, served_rows(FIRST, 10, failed=1), serving={"error": "failure"})[FIRST]
    assert (only_errors["error_rate"], only_errors["latency_p50_ms"]) == (0.1, None)
    only_latency = measure(tmp_path / "other", served_rows(FIRST, 10), serving={"latency_ms": "took"})[FIRST]
    assert (only_latency["error_rate"], only_latency["latency_p50_ms"]) == (None, 5.0)
    assert measure(tmp_path / "third", served_rows(FIRST, 10), serving=None) == {}


@pytest.mark.parametrize(
    ("serving", "says"),
    [
        ({}, "at least one of"),
        ({"latency_ms": "x", "error": "x"}, "two columns"),
        ({"error": "amount"}, "one role"),
        ({"p": "x"}, "Extra"),
    ],
)
def test_a_wrong_declaration_is_refused(serving: dict, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        MonitorSpec.model_validate(example_content(serving=serving))


def test_dagster_plots_serving_by_day(tmp_path) -> None:
    days = {"dagster/asset_partition_range_start": str(FIRST), "dagster/asset_partition_range_end": str(SECOND)}
    for day, failed in [(FIRST, 0), (SECOND, 2)]:
        write_day(tmp_path, day, frame=served_rows(day, 100, failed))
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, serving=SERVING, labels=None, label=None)
        succeeded(monitor.materialise("inference_log", tags=days))
        shown = [monitor.metadata("inference_log", day) for day in (FIRST, SECOND)]
    keys = ("error_rate", "latency_p99_ms", "dropped_rows", "accepted_rows")
    assert [[day[key].value for key in keys] for day in shown] == [[0, 99, 0, 100], [0.02, 99, 0, 100]]


def test_of_the_columns_of_serving_only_the_error_may_be_missing(tmp_path) -> None:
    expected = expectations_of(example_spec(tmp_path, serving=SERVING), ReferenceFacts())
    judged = {expectation.column for expectation in expected if expectation.kind == "not_null"}
    assert "took" in judged
    assert "failure" not in judged
