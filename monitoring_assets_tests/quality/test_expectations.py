"""The declarations that follow from a contract and from what the reference shows. No data and no Great Expectations."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.quality.expectations import (
    KINDS,
    Correlation,
    Expectation,
    LastEvent,
    ReferenceFacts,
    Tolerance,
    Volume,
    expectations_of,
    kinds_of,
)

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


def all_of(spec: MonitorSpec, facts: ReferenceFacts, kind: str, column: str | None) -> list[Expectation]:
    return [e for e in expectations_of(spec, facts) if e.kind == kind and e.column == column]


def only(spec: MonitorSpec, facts: ReferenceFacts, kind: str, column: str | None) -> Expectation | None:
    found = all_of(spec, facts, kind, column)
    assert len(found) <= 1
    return found[0] if found else None


def bounds(feature: dict, facts: ReferenceFacts, **quality) -> list[tuple[float | None, float | None, str]]:
    """Each rule's lower and upper bound, and the gravest severity it can have."""
    found = all_of(make_spec({"x": feature}, **quality), facts, "in_range", "x")
    gravest = ["severe" if e.tolerance.severe is not None else "moderate" for e in found]
    return [(e.arguments["min_value"], e.arguments["max_value"], level) for e, level in zip(found, gravest, strict=True)]


def learnt(low: float, high: float) -> ReferenceFacts:
    return ReferenceFacts(minimum={"x": low}, maximum={"x": high})


def test_every_log_column_is_expected_to_have_its_type_and_no_gaps():
    spec = make_spec({"x": {"kind": "numeric"}, "c": {"kind": "categorical"}}, {"score": "s", "class": "k"})
    for kind in ("of_type", "not_null"):
        found = [e.column for e in expectations_of(spec, NOTHING_KNOWN) if e.kind == kind]
        assert found == list(spec.log_columns)


def test_each_kind_is_declared_once_per_column():
    spec = make_spec({"x": {"kind": "numeric"}, "c": {"kind": "categorical", "allowed": ["a"]}})
    facts = replace(
        learnt(0, 1), usual_values={"x": (0, 1)}, outlier_fraction={"x": 0.0}, commonest_prediction=0.1,
        last_event=LastEvent(1, 2, 0.5, 30, 100), correlations={("x", "y"): Correlation(0.9, 0.0)},
    )  # fmt: skip
    declared = [(e.kind, e.column) for e in expectations_of(spec, facts)]
    assert len(set(declared)) == len(declared)
    assert {kind for kind, _ in declared} == set(KINDS) - {"declared"}


def test_a_monitor_has_the_kinds_its_columns_and_its_yaml_can_have():
    one = make_spec({"x": {"kind": "numeric"}})
    assert set(KINDS) - set(kinds_of(one)) == {"correlated", "declared"}
    expectations = [{"type": "expect_column_mean_to_be_between", "column": "x", "min_value": 0}]
    both = make_spec({"x": {"kind": "numeric"}, "y": {"kind": "numeric"}}, expectations=expectations)
    assert kinds_of(both) == list(KINDS)


def test_a_feature_may_miss_what_the_reference_misses_and_the_levels_more():
    spec = make_spec({"x": {"kind": "numeric"}}, missing_minor=0.01, missing_severe=0.05)
    expectation = only(spec, ReferenceFacts({"x": 0.2}, {"x": 0.4}), "not_null", "x")
    # Minor above what is usual, severe above all the reference's days.
    assert expectation.tolerance == Tolerance(minor=pytest.approx(0.21), severe=pytest.approx(0.45))
    assert expectation.expected == "at most 21 % missing"


def test_a_feature_that_may_not_be_null_tolerates_none_whatever_the_reference_shows():
    spec = make_spec({"x": {"kind": "numeric", "nullable": False}})
    facts = ReferenceFacts(missing_fraction={"x": 0.2})
    assert only(spec, facts, "not_null", "x").tolerance == Tolerance(severe=0.0)


@pytest.mark.parametrize("column", ["key", "at", "score"])
def test_id_time_and_prediction_learn_no_missing_share(column):
    facts = ReferenceFacts(missing_fraction={"key": 0.2, "at": 0.2, "score": 0.2})
    expectation = only(make_spec({"x": {"kind": "numeric"}}), facts, "not_null", column)
    assert expectation.tolerance == Tolerance(minor=0.01, severe=0.05)


def test_learnt_ranges_are_widened_by_the_margin_on_both_sides():
    assert bounds({"kind": "numeric"}, learnt(0, 100), range_margin=0.1) == [(-10, 110, "moderate")]


def test_declared_bounds_win_over_learnt_ones_and_are_not_widened():
    assert bounds({"kind": "numeric", "minimum": 0, "maximum": 50}, learnt(-5, 100)) == [(0, 50, "severe")]
    assert bounds({"kind": "numeric", "minimum": 0}, learnt(10, 110)) == [(0, None, "severe"), (None, 120, "moderate")]


def test_a_learnt_bound_that_contradicts_the_contract_is_dropped():
    assert bounds({"kind": "numeric", "minimum": 1000}, learnt(0, 100)) == [(1000, None, "severe")]
    assert bounds({"kind": "numeric", "maximum": -1000}, learnt(0, 100)) == [(None, -1000, "severe")]


@pytest.mark.parametrize("facts", [NOTHING_KNOWN, learnt(3, 3), learnt(-math.inf, 3), learnt(math.nan, 3)])
def test_a_constant_infinite_or_unknown_reference_teaches_no_range(facts):
    assert bounds({"kind": "numeric"}, facts) == []


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
    ("volume", "expected"),
    [
        (Volume(10_000, 100), (5_000, 20_000)),  # the factors of the median
        (Volume(10_000, 3_000), (1, 22_007)),  # wider where the reference's own days are, 4 deviations
        (Volume(4, 0), (1, 12)),  # counting alone: 4 ± 4 √4
    ],
)
def test_a_day_may_have_half_to_twice_the_median_rows_or_what_the_references_days_and_counting_explain(volume, expected):
    facts = ReferenceFacts(weekday_rows={2: volume})
    ranges = only(make_spec({"x": {"kind": "numeric"}}), facts, "row_count", None).arguments["ranges"]
    assert ranges == {2: pytest.approx(expected, abs=1)}


@pytest.mark.parametrize("facts", [NOTHING_KNOWN, ReferenceFacts(weekday_rows={2: Volume(0, 0)})])
def test_where_the_reference_has_no_rows_a_day_is_expected_to_have_one(facts):
    expectation = only(make_spec({"x": {"kind": "numeric"}}), facts, "row_count", None)
    assert (expectation.arguments, expectation.expected) == ({"ranges": {}}, "at least 1 row")


def test_only_pairs_above_the_minimum_correlation_are_watched_and_either_sign_counts():
    spec = make_spec({name: {"kind": "numeric"} for name in "xyz"}, minimum_correlation=0.6)
    facts = ReferenceFacts(
        correlations={("x", "y"): Correlation(-0.61, 0), ("x", "z"): Correlation(0.59, 0), ("y", "z"): Correlation(0.9, 0)}
    )
    assert [e.column for e in expectations_of(spec, facts) if e.kind == "correlated"] == ["y ~ z", "x ~ y"]


def test_the_last_event_may_come_an_hour_earlier_than_ever_or_as_chance_has_it():
    spec = make_spec({"x": {"kind": "numeric"}})
    regular = only(spec, ReferenceFacts(last_event=LastEvent(6, 6.5, 0.01, 60, 900)), "fresh", "at").arguments
    assert regular["least"] + regular["excess"] == pytest.approx(7.5)
    erratic = only(spec, ReferenceFacts(last_event=LastEvent(0, 2, 0.5, 3, 100)), "fresh", "at").arguments
    assert erratic["excess"] == pytest.approx(0.5 * 2 * (0.001 ** (-1 / 2) - 1))


@pytest.mark.slow
def test_importing_the_package_loads_neither_great_expectations_nor_dagster():
    code = (
        "import sys, monitoring_assets.quality.daily_findings\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('great_expectations', 'dagster')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
