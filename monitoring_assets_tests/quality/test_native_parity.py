"""Great Expectations itself, evaluating a day's suite on the day's rows, finds what we count: kind by kind, the same unexpected
values, as many of them, and the same success."""

import json
import math
import subprocess
import sys
from collections import Counter
from datetime import date, timedelta
from typing import Any

import duckdb
import great_expectations as gx
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from monitoring_assets.engines.day_rows import StoredRows
from monitoring_assets.errors import NothingToExpect
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.quality.counted import rule_of
from monitoring_assets.quality.declared import evaluate_declared, named
from monitoring_assets.quality.expectations import Correlation, LastEvent, ReferenceFacts, Volume
from monitoring_assets.quality.findings import evaluate_days, measured_days
from monitoring_assets.quality.suites import day_frame, day_suite
from monitoring_assets.quality.validation import Named, outcomes, suite_as_json
from monitoring_assets.warehouse import quoted, table
from monitoring_assets_tests.quality.test_daily_findings import DAY, NEXT, judged_monitor, related
from monitoring_assets_tests.quality.test_expectations import make_spec

pytestmark = pytest.mark.slow

FIRST = date(2026, 1, 1)
FEATURES = {
    "x": {"kind": "numeric"},
    "y": {"kind": "numeric", "nullable": False, "minimum": -1},
    "c": {"kind": "categorical"},
    "d": {"kind": "categorical", "allowed": ["it's", '"b"', ""]},
}
SPEC = make_spec(FEATURES, samples=100)
FACTS = ReferenceFacts(
    missing_fraction={"x": 0.1},
    minimum={"x": 0.0, "y": 0.0},
    maximum={"x": 100.0, "y": 1.0},
    categories={"c": ["a", "b"]},
    usual_values={"x": (0.0, 50.0)},
    outlier_fraction={"x": 0.01},
    weekday_rows={FIRST.weekday(): Volume(20.0, 0.0)},
    commonest_prediction=0.4,
    last_event=LastEvent(2.0, 3.0, 0.1, 30, 10.0),
    correlations={("x", "y"): Correlation(-0.9, 0.0)},
)
NUMBERS = st.sampled_from([None, math.nan, -50.0, -0.0, 0.0, 0.1 + 0.2, 49.0, 100.0, 110.0, 111.0, math.inf, -math.inf])
TEXTS = st.sampled_from([None, "a", "b", "new", "ü'", "", "it's", '"b"', "nan", "None"])
ROW = st.tuples(
    st.sampled_from(["i", "j", "k", "", None]),
    st.one_of(st.none(), st.integers(0, 86_399)),
    NUMBERS,
    NUMBERS,
    TEXTS,
    TEXTS,
    st.sampled_from([0.5, 0.0, -0.0, 1.0, 2.0, float("nan"), None]),
)


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def stored(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, rows: list[tuple[Any, ...]]) -> None:
    """The rows (id, second of the day, x, y, c, d, score) as the day's `inference_log`."""
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(spec.name)}")
    columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in spec.log_columns.items())
    connection.execute(f"CREATE OR REPLACE TABLE {table(spec, 'inference_log')} (day DATE, {columns})")
    midnight = pd.Timestamp(FIRST, tz="UTC")
    for key, second, *values in rows:
        at = None if second is None else midnight + timedelta(seconds=second)
        marks = ", ".join("?" * (len(values) + 3))
        connection.execute(f"INSERT INTO {table(spec, 'inference_log')} VALUES ({marks})", [FIRST, key, at, *values])


def as_text(value: Any) -> str:
    return "missing" if value is None or value != value else str(value)


@settings(max_examples=12, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=40))
def test_each_kind_of_rule_is_found_broken_by_the_same_values_natively(connection, rows) -> None:
    stored(connection, SPEC, rows)
    log = table(SPEC, "inference_log")
    ours = [
        (measured, each)
        for measured, of_day in measured_days(connection, StoredRows(SPEC, log), [FIRST], SPEC, FACTS)
        for each in of_day
    ]
    suite = suite_as_json("day", [Named(each.type, each.kwargs) for _, each in ours], {})
    native = outcomes(suite, day_frame(connection, SPEC, FIRST), samples=1000)
    for (measured, each), outcome in zip(ours, native, strict=True):
        said = (measured.expectation.kind, each.kwargs)
        assert outcome.success == each.success, (said, measured, outcome)
        if measured.expectation.kind in ("not_null", "in_range", "in_set", "no_outliers", "unique_id"):
            assert (outcome.unexpected_count if outcome.partial_unexpected_list else 0) == measured.value, (said, outcome)
            if measured.expectation.kind != "not_null":  # of which we show the ids
                assert {as_text(v) for v in outcome.partial_unexpected_list} == set(measured.samples), said
        elif measured.expectation.kind in ("row_count", "correlated", "prediction_varies"):
            assert outcome.observed == pytest.approx(measured.value, abs=1e-9), said
    kinds = Counter(measured.expectation.kind for measured, _ in ours)
    assert set(kinds) >= {"not_null", "in_range", "in_set", "of_type", "unique_id", "row_count", "no_outliers"}


DECLARED = make_spec(
    FEATURES,
    samples=100,
    expectations=[
        {"type": "expect_column_values_to_not_be_null", "column": "x", "mostly": 0.5},
        {"type": "expect_column_values_to_not_be_null", "column": "at"},
        {"type": "expect_column_values_to_be_between", "column": "x", "min_value": 0, "max_value": 100, "mostly": 0.6},
        {"type": "expect_column_values_to_be_between", "column": "y", "max_value": 49.0},
        {"type": "expect_column_values_to_be_in_set", "column": "c", "value_set": ["a", "it's"], "mostly": 0.3},
        {"type": "expect_column_values_to_be_unique", "column": "key", "mostly": 0.25},
        {"type": "expect_table_row_count_to_be_between", "min_value": 2, "max_value": 9},
    ],
)


@settings(max_examples=12, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=15))
def test_declared_expectations_are_counted_as_the_library_counts_them(connection, rows) -> None:
    stored(connection, DECLARED, rows)
    assert all(rule_of(each, DECLARED) for each in DECLARED.quality.expectations)
    ours = list(evaluate_declared(connection, DECLARED, [FIRST]))
    native = outcomes(suite_as_json("day", named(DECLARED), {}), day_frame(connection, DECLARED, FIRST), samples=1000)
    for finding, outcome in zip(ours, native, strict=True):
        assert finding.success == outcome.success, (finding, outcome)
        if finding.unexpected_percent is not None:
            assert finding.unexpected_percent == pytest.approx(outcome.unexpected_percent), (finding, outcome)


@pytest.mark.parametrize(
    "declared",
    [
        {"type": "expect_column_values_to_be_between", "column": "x", "min_value": 0, "strict_min": True},
        {"type": "expect_column_values_to_be_between", "column": "x"},
        {"type": "expect_column_values_to_be_between", "column": "c", "min_value": 1},
        {"type": "expect_column_values_to_be_in_set", "column": "x", "value_set": [1, 2]},
        {"type": "expect_column_values_to_be_in_set", "column": "c", "value_set": []},
        {"type": "expect_column_values_to_not_be_null", "column": "x", "mostly": 5},
        {"type": "expect_column_values_to_be_unique", "column": "x"},
        {"type": "expect_column_mean_to_be_between", "column": "x", "min_value": 0},
    ],
)
def test_what_might_differ_is_left_to_the_library(declared: dict[str, Any]) -> None:
    spec = make_spec(FEATURES, expectations=[declared])
    assert rule_of(spec.quality.expectations[0], spec) is None


@pytest.mark.parametrize(("correlation", "success"), [(-0.9, True), (0.0, False), (0.9, False)])
def test_whole_day_rules_fail_natively_when_they_fail_here(connection, correlation: float, success: bool) -> None:
    random = np.random.default_rng(3)
    x = random.normal(25, 5, 300)
    y = correlation * (x - 25) / 50 + (1 - abs(correlation)) * random.normal(0, 0.1, 300)
    last = 86_399 if success else 3_600
    score = random.random(300) if success else np.full(300, 0.5)
    rows = [(f"i{i}", last, x[i], y[i], "a", "", score[i]) for i in range(300)]
    stored(connection, SPEC, rows)
    log = table(SPEC, "inference_log")
    ours = [
        each
        for measured, of_day in measured_days(connection, StoredRows(SPEC, log), [FIRST], SPEC, FACTS)
        for each in of_day
        if measured.expectation.kind in ("correlated", "fresh", "prediction_varies")
    ]
    assert [each.success for each in ours] == ([success] * 3 if correlation != 0.9 else [False] * 3)
    native = outcomes(
        suite_as_json("day", [Named(each.type, each.kwargs) for each in ours], {}), day_frame(connection, SPEC, FIRST), 5
    )
    assert [outcome.success for outcome in native] == [each.success for each in ours]


@pytest.mark.parametrize(("column", "found"), [("x", "VARCHAR"), ("c", "DOUBLE"), ("at", "TIMESTAMP"), ("x", "BIGINT")])
def test_a_column_of_another_type_fails_natively_too(connection, column: str, found: str) -> None:
    stored(connection, SPEC, [("i", 5, 1.0, 1.0, "1", "", 0.5)])
    connection.execute(f"ALTER TABLE {table(SPEC, 'inference_log')} ALTER {quoted(column)} TYPE {found}")
    (finding,) = [
        f
        for f in evaluate_days(connection, StoredRows(SPEC, table(SPEC, "inference_log")), [FIRST], SPEC, FACTS)
        if (f.check, f.column) == ("of_type", column)
    ]
    (native,) = outcomes(
        suite_as_json("day", [Named(finding.expectation, finding.kwargs)], {}), day_frame(connection, SPEC, FIRST), 5
    )
    assert (finding.success, native.success) == (False, False)


def test_the_exported_suite_is_loaded_by_great_expectations_unchanged_and_runs_on_the_days_frame(tmp_path) -> None:
    strange = related(NEXT).assign(country="Atlantis", score=0.5)
    declared = [{"type": "expect_column_mean_to_be_between", "column": "amount", "min_value": 45, "severity": "minor"}]
    with judged_monitor(tmp_path, {DAY: related(DAY), NEXT: strange}, quality={"expectations": declared}) as (connection, spec):
        written = json.dumps(day_suite(connection, spec))
        frame = day_frame(connection, spec, NEXT)
        loaded = gx.ExpectationSuite(**json.loads(written))
        assert loaded.to_json_dict() == json.loads(written)
        assert loaded.meta["day"] == str(NEXT)
        context = gx.get_context(mode="ephemeral")
        context.suites.add(loaded)
        batch = context.data_sources.add_pandas("p").add_dataframe_asset("a").add_batch_definition_whole_dataframe("b")
        found = batch.get_batch({"dataframe": frame}).validate(loaded)
        broken = [result.expectation_config for result in found.results if not result.success]
        failed = {(each.meta["check"], each.severity.value) for each in broken}
        assert failed == {("in_set", "info"), ("in_set", "warning"), ("prediction_varies", "critical")}
        assert {"declared", "fresh", "correlated"} <= {each.meta["check"] for each in loaded.expectations}
        sound = day_suite(connection, spec, DAY)
        assert all(outcome.success for outcome in outcomes(sound, day_frame(connection, spec, DAY), 5))
        with pytest.raises(NothingToExpect, match="no row of 2026-03-20 is stored"):
            day_suite(connection, spec, date(2026, 3, 20))


def test_findings_are_stored_in_the_terms_of_great_expectations(tmp_path) -> None:
    from monitoring_assets.quality.daily_findings import daily_findings

    strange = related(NEXT)
    strange.loc[:29, "country"] = "Atlantis"  # 10 %
    with judged_monitor(tmp_path, {NEXT: strange}) as (connection, spec):
        daily_findings(connection, spec, [NEXT])
        ((expectation, kwargs, *rest),) = connection.execute(
            "SELECT expectation, kwargs, success, unexpected_count, unexpected_percent, partial_unexpected_list, severity "
            f"FROM {table(spec, 'quality')} WHERE kind = 'in_set'"
        ).fetchall()
    assert expectation == "expect_column_values_to_be_in_set"
    arguments = json.loads(kwargs)
    assert (arguments["column"], set(arguments["value_set"])) == ("country", {"US", "DE", "JP"})
    assert 0.9 < arguments["mostly"] < 0.99  # 1 % may be unknown, and noise among 300 rows
    assert rest == [False, 30, 10.0, ["Atlantis"], "moderate" if arguments["mostly"] < 0.95 else "minor"]


def test_daily_checks_do_not_import_great_expectations_while_what_the_yaml_declares_can_be_counted(tmp_path) -> None:
    with judged_monitor(tmp_path, {DAY: related(DAY)}):
        pass
    code = (
        "import sys\nfrom datetime import date\nfrom pathlib import Path\n"
        "from monitoring_assets.quality.daily_findings import daily_findings\n"
        "from monitoring_assets_tests.example_monitor import example_spec, example_warehouse\n"
        "declared = {'expectations': [{'type': 'expect_table_row_count_to_be_between', 'min_value': 1}]}\n"
        f"home = Path({str(tmp_path)!r})\n"
        "spec = example_spec(home, reference={'path': 'reference.parquet'}, quality=declared)\n"
        "with example_warehouse(home, spec) as connection:\n"
        f"    found = daily_findings(connection, spec, [date.fromisoformat('{DAY}')])\n"
        "print({f.check for f in found} >= {'declared', 'not_null'}, 'great_expectations' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"
