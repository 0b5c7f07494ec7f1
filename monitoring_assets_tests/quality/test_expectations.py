"""The declarations that follow from a contract and from what the reference shows. No data and no Great Expectations."""

import math
import subprocess
import sys

import pytest

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.quality.expectations import KINDS, Expectation, ReferenceFacts, Tolerance, expectations_of

NOTHING_KNOWN = ReferenceFacts()


def make_spec(features: dict, prediction: dict | None = None, **quality) -> MonitorSpec:
    return MonitorSpec.model_validate(
        {
            "name": "m",
            "id": "key",
            "event_time": "at",
            "start_day": "2026-01-01",
            "features": features,
            "prediction": prediction or {"score": "score"},
            "log": {"path": "/logs/{day}.parquet"},
            "reference": {"path": "/reference.parquet"},
            "quality": quality,
        }
    )


def only(spec: MonitorSpec, facts: ReferenceFacts, kind: str, column: str | None) -> Expectation | None:
    found = [e for e in expectations_of(spec, facts) if e.kind == kind and e.column == column]
    assert len(found) <= 1
    return found[0] if found else None


def bounds(feature: dict, facts: ReferenceFacts, **quality) -> tuple[float | None, float | None] | None:
    expectation = only(make_spec({"x": feature}, **quality), facts, "in_range", "x")
    return expectation and (expectation.arguments["min_value"], expectation.arguments["max_value"])


def learnt(low: float, high: float) -> ReferenceFacts:
    return ReferenceFacts(minimum={"x": low}, maximum={"x": high})


def test_every_log_column_is_expected_to_have_its_type_and_no_gaps():
    spec = make_spec({"x": {"kind": "numeric"}, "c": {"kind": "categorical"}}, {"score": "s", "class": "k"})
    for kind in ("of_type", "not_null"):
        found = [e.column for e in expectations_of(spec, NOTHING_KNOWN) if e.kind == kind]
        assert found == list(spec.log_columns)


def test_each_kind_is_declared_once_per_column():
    spec = make_spec({"x": {"kind": "numeric"}, "c": {"kind": "categorical", "allowed": ["a"]}})
    declared = [(e.kind, e.column) for e in expectations_of(spec, learnt(0, 1))]
    assert len(set(declared)) == len(declared)
    assert {kind for kind, _ in declared} == set(KINDS)


def test_a_feature_may_miss_what_the_reference_misses_and_the_levels_more():
    spec = make_spec({"x": {"kind": "numeric"}}, missing_minor=0.01, missing_severe=0.05)
    expectation = only(spec, ReferenceFacts(missing_fraction={"x": 0.2}), "not_null", "x")
    assert expectation.tolerance == Tolerance(pytest.approx(0.21), pytest.approx(0.25))
    assert expectation.expected == "at most 21 % missing"


def test_a_feature_that_may_not_be_null_tolerates_none_whatever_the_reference_shows():
    spec = make_spec({"x": {"kind": "numeric", "nullable": False}})
    facts = ReferenceFacts(missing_fraction={"x": 0.2})
    assert only(spec, facts, "not_null", "x").tolerance == Tolerance(0.0, 0.0)


@pytest.mark.parametrize("column", ["key", "at", "score"])
def test_id_time_and_prediction_learn_no_missing_share(column):
    facts = ReferenceFacts(missing_fraction={"key": 0.2, "at": 0.2, "score": 0.2})
    expectation = only(make_spec({"x": {"kind": "numeric"}}), facts, "not_null", column)
    assert expectation.tolerance == Tolerance(0.01, 0.05)


def test_learnt_ranges_are_widened_by_the_margin_on_both_sides():
    assert bounds({"kind": "numeric"}, learnt(0, 100), range_margin=0.1) == (-10, 110)


def test_declared_bounds_win_over_learnt_ones_and_are_not_widened():
    assert bounds({"kind": "numeric", "minimum": 0, "maximum": 50}, learnt(-5, 100)) == (0, 50)
    assert bounds({"kind": "numeric", "minimum": 0}, learnt(10, 110)) == (0, 120)


def test_a_learnt_bound_that_contradicts_the_contract_is_dropped():
    assert bounds({"kind": "numeric", "minimum": 1000}, learnt(0, 100)) == (1000, None)
    assert bounds({"kind": "numeric", "maximum": -1000}, learnt(0, 100)) == (None, -1000)


@pytest.mark.parametrize("facts", [NOTHING_KNOWN, learnt(3, 3), learnt(-math.inf, 3), learnt(math.nan, 3)])
def test_a_constant_infinite_or_unknown_reference_teaches_no_range(facts):
    assert bounds({"kind": "numeric"}, facts) is None


def test_a_probability_lies_between_0_and_1_whatever_the_reference_shows():
    facts = ReferenceFacts(minimum={"score": 0.4}, maximum={"score": 0.6})
    assert only(make_spec({"x": {"kind": "numeric"}}), facts, "in_range", "score").expected == "between 0 and 1"


def test_the_value_of_a_regression_keeps_to_what_the_reference_shows():
    spec = make_spec({"x": {"kind": "numeric"}}, {"value": "v"})
    assert only(spec, NOTHING_KNOWN, "in_range", "v") is None
    facts = ReferenceFacts(minimum={"v": 0}, maximum={"v": 10})
    assert only(spec, facts, "in_range", "v").expected == "between -1 and 11"


def test_allowed_categories_win_over_learnt_ones():
    facts = ReferenceFacts(categories={"c": ["a", "b"], "d": ["x"]})
    spec = make_spec({"c": {"kind": "categorical", "allowed": ["z"]}, "d": {"kind": "categorical"}})
    assert only(spec, facts, "in_set", "c").arguments == {"value_set": ["z"]}
    assert only(spec, facts, "in_set", "d").arguments == {"value_set": ["x"]}


def test_more_than_1000_learnt_categories_teach_nothing_but_as_many_allowed_ones_count():
    many = [str(number) for number in range(1001)]
    assert only(make_spec({"c": {"kind": "categorical"}}), ReferenceFacts(categories={"c": many}), "in_set", "c") is None
    assert only(make_spec({"c": {"kind": "categorical", "allowed": many}}), NOTHING_KNOWN, "in_set", "c") is not None
    thousand = ReferenceFacts(categories={"c": many[:1000]})
    assert "and 995 more" in only(make_spec({"c": {"kind": "categorical"}}), thousand, "in_set", "c").expected


@pytest.mark.parametrize(
    ("median", "expected"),
    [
        (920, "between 460 and 1840 rows"),
        (None, "at least 1 row"),
        (0, "at least 1 row"),
        (0.4, "between 1 and 1 rows"),
    ],
)
def test_a_day_has_half_to_twice_the_median_rows_and_never_none(median, expected):
    facts = ReferenceFacts(median_daily_rows=median)
    assert only(make_spec({"x": {"kind": "numeric"}}), facts, "row_count", None).expected == expected


def test_importing_the_package_loads_neither_great_expectations_nor_dagster():
    code = (
        "import sys, monitoring_assets.quality.findings\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('great_expectations', 'dagster')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
