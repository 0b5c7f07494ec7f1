"""Days judged: what is found, that it is found on the right day, and that it does not depend on which other days are judged
with it. Frames come out of DuckDB, as they do in production."""

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta

import duckdb
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from scipy.stats import binom, binomtest

from monitoring_assets.engines.day_rows import StoredRows
from monitoring_assets.measuring.histograms import Histogram
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.quality.day_expectations import least_share
from monitoring_assets.quality.expectations import Correlation, LastEvent, ReferenceFacts, Volume
from monitoring_assets.quality.facts import reference_facts
from monitoring_assets.quality.findings import Finding, evaluate_days
from monitoring_assets.warehouse import quoted
from monitoring_assets_tests.quality.test_expectations import make_spec

FIRST = date(2026, 1, 1)
SPEC = make_spec({"x": {"kind": "numeric"}, "c": {"kind": "categorical"}})
FACTS = ReferenceFacts(
    missing_fraction={"x": 0.1},
    minimum={"x": 0},
    maximum={"x": 100},
    categories={"c": ["a", "b"]},
    weekday_rows={weekday: Volume(10, 1) for weekday in range(7)},
)


def nth(number: int) -> date:
    return FIRST + timedelta(days=number)


def log(spec: MonitorSpec, days: dict[int, int], **columns) -> pd.DataFrame:
    """A log with so many rows on each day, all good; `columns` replaces values of whole columns."""
    numbers = [number for number, rows in days.items() for _ in range(rows)]
    good = {"VARCHAR": "a", "DOUBLE": 0.5, "TIMESTAMPTZ": "2026-01-01 00:00:00+00"}
    raw = {"day": [nth(number) for number in numbers]}
    raw |= {name: [good[kind]] * len(numbers) for name, kind in spec.log_columns.items()}
    raw |= {spec.id: [f"id{row}" for row in range(len(numbers))]} | columns
    return pd.DataFrame(raw, dtype=object)


def evaluate(
    frame: pd.DataFrame, days: list[date], spec: MonitorSpec, facts: ReferenceFacts, types: dict[str, str] | None = None
) -> list[Finding]:
    """Findings of a frame that lies in DuckDB as the warehouse has it, or with other types."""
    declared = {name: kind for name, kind in ({"day": "DATE"} | spec.log_columns | (types or {})).items() if name in frame}
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE log ({', '.join(f'{quoted(n)} {t}' for n, t in declared.items())})")
        rows = list(frame[list(declared)].itertuples(index=False, name=None))
        if rows:
            connection.executemany(f"INSERT INTO log VALUES ({', '.join('?' * len(declared))})", rows)
        return evaluate_days(connection, StoredRows(spec, "log"), days, spec, facts)


def found(findings: list[Finding], check: str, column: str | None, day: date = FIRST) -> Finding:
    (finding,) = [f for f in findings if (f.check, f.column, f.day) == (check, column, day)]
    return finding


def evaluate_one_day(rows: int = 10, spec: MonitorSpec = SPEC, facts: ReferenceFacts = FACTS, **columns) -> list[Finding]:
    return evaluate(log(spec, {0: rows}, **columns), [FIRST], spec, facts)


def test_a_good_day_is_ok_in_every_check():
    findings = evaluate_one_day()
    assert {finding.severity for finding in findings} == {"ok"}
    assert {finding.check for finding in findings} == {
        "not_null", "in_range", "in_set", "of_type", "unique_id", "row_count",
    }  # fmt: skip


@pytest.mark.slow
def test_the_missing_share_is_judged_above_the_references_own_and_shows_the_rows_ids():
    # allowed: 10 % usual + 1 %; severe above 15 %, as far as noise cannot explain it
    finding = found(evaluate_one_day(x=[None] + [1.0] * 9), "not_null", "x")
    assert (finding.severity, finding.observed, finding.partial_unexpected_list) == ("ok", 0.1, ["id0"])
    finding = found(evaluate_one_day(x=[1.0] * 2 + [None, float("nan")] * 4), "not_null", "x")
    assert (finding.severity, finding.unexpected_count, finding.partial_unexpected_list[:2]) == ("severe", 8, ["id2", "id3"])
    finding = found(evaluate_one_day(rows=1000, x=[None] * 160 + [1.0] * 840), "not_null", "x")
    assert (finding.severity, finding.unexpected_percent) == ("minor", 16)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 10_000), st.just(0.0) | st.floats(1e-6, 1), st.floats(1e-5, 0.1))
def test_a_population_with_the_tolerated_share_falls_below_mostly_at_most_at_the_rate(rows, share, rate):
    (mostly,) = least_share(np.array([rows]), np.array([share]), rate)
    counts = np.arange(rows + 1)
    assert binom.pmf(counts[(rows - counts) / rows < mostly], rows, share).sum() <= rate * (1 + 1e-6)


def test_mostly_is_the_exact_binomial_test_of_scipy_and_no_more_tolerant():
    (mostly,) = least_share(np.array([1000]), np.array([0.01]), 0.001)
    most = round(1000 * (1 - mostly))
    assert binomtest(most, 1000, 0.01, alternative="greater").pvalue >= 0.001
    assert binomtest(most + 1, 1000, 0.01, alternative="greater").pvalue < 0.001


def test_one_null_is_severe_where_the_contract_says_not_nullable():
    spec = make_spec({"x": {"kind": "numeric", "nullable": False}})
    facts = ReferenceFacts(missing_fraction={"x": 0.5})
    finding = found(evaluate_one_day(rows=1000, spec=spec, facts=facts, x=[None] + [1.0] * 999), "not_null", "x")
    assert (finding.severity, finding.observed) == ("severe", 0.001)


def test_values_out_of_range_are_a_share_of_the_values_and_missing_ones_are_no_values():
    finding = found(evaluate_one_day(x=[None, None, 110.0, 110.5, -11.0, float("inf")] + [1.0] * 4), "in_range", "x")
    assert (finding.unexpected_count, finding.unexpected_percent) == (3, 37.5)
    assert finding.partial_unexpected_list == ["-11.0", "110.5", "inf"]
    assert finding.expected == "between -10 and 110"


def test_an_unseen_category_is_found_and_a_missing_one_is_not_a_category():
    finding = found(evaluate_one_day(rows=50, c=["ü '\"; DROP"] * 5 + [None] + ["a"] * 44), "in_set", "c")
    assert (finding.severity, finding.unexpected_count, finding.partial_unexpected_list) == ("minor", 5, ["ü '\"; DROP"])


def test_samples_are_distinct_few_and_short():
    spec = make_spec({"c": {"kind": "categorical", "allowed": ["a"]}}, samples=2)
    finding = found(evaluate_one_day(spec=spec, c=["x" * 500] * 5 + ["y"] * 3 + ["z"] * 2), "in_set", "c")
    assert [len(sample) for sample in finding.partial_unexpected_list] == [80, 1]


def test_an_id_is_unique_within_its_day_only():
    frame = log(SPEC, {0: 3, 1: 2}, key=["a", "b", "a", "a", "b"])
    findings = evaluate(frame, [nth(0), nth(1)], SPEC, FACTS)
    first, second = found(findings, "unique_id", "key"), found(findings, "unique_id", "key", nth(1))
    assert (first.severity, first.unexpected_count, first.partial_unexpected_list) == ("severe", 2, ["a"])
    assert (second.severity, second.unexpected_count) == ("ok", 0)


def test_missing_ids_are_missing_and_not_repeated():
    findings = evaluate_one_day(key=[None] * 6 + [f"id{row}" for row in range(4)])
    assert found(findings, "unique_id", "key").severity == "ok"
    missing = found(findings, "not_null", "key")
    assert (missing.severity, missing.partial_unexpected_list) == ("severe", [])


@pytest.mark.parametrize(("rows", "severity"), [(49, "moderate"), (50, "ok"), (200, "ok"), (201, "moderate")])
def test_the_volume_may_be_half_to_twice_the_median_of_the_same_weekday(rows, severity):
    facts = ReferenceFacts(weekday_rows={FIRST.weekday(): Volume(100, 5), nth(1).weekday(): Volume(rows, 5)})
    findings = evaluate(log(SPEC, {0: rows, 1: rows}), [FIRST, nth(1)], SPEC, facts)
    assert (found(findings, "row_count", None).severity, found(findings, "row_count", None).observed) == (severity, rows)
    assert found(findings, "row_count", None).expected == "between 50 and 200 rows"
    assert found(findings, "row_count", None, nth(1)).severity == "ok"


def test_a_day_without_rows_is_severe_and_its_shares_are_undefined_not_zero():
    findings = evaluate(log(SPEC, {0: 10}), [nth(0), nth(1)], SPEC, FACTS)
    empty = [finding for finding in findings if finding.day == nth(1)]
    assert {finding.check for finding in empty} == {"row_count", "of_type"}
    assert found(empty, "row_count", None, nth(1)).severity == "severe"


def test_an_empty_frame_is_evaluated_and_no_days_have_no_findings():
    empty = log(SPEC, {})
    assert {f.severity for f in evaluate(empty, [FIRST], SPEC, FACTS) if f.check == "row_count"} == {"severe"}
    assert evaluate(empty, [], SPEC, FACTS) == []


def test_all_null_columns_keep_their_type_and_are_missing_not_invalid():
    findings = evaluate_one_day(x=[None] * 10, c=[None] * 10)
    for column, check in (("x", "in_range"), ("c", "in_set")):
        assert found(findings, "of_type", column).severity == "ok"
        assert found(findings, "not_null", column).observed == 1.0
        assert found(findings, check, column).unexpected_count == 0


def test_a_constant_reference_column_is_watched_for_gaps_and_type_only():
    checks = [f.check for f in evaluate_one_day(facts=ReferenceFacts(minimum={"x": 1}, maximum={"x": 1})) if f.column == "x"]
    assert checks == ["of_type", "not_null"]


def test_a_wrong_type_is_severe_on_every_day_and_its_values_are_not_compared():
    frame = log(SPEC, {0: 2, 1: 2}).assign(x=["1", "2", "3", "4"])
    findings = evaluate(frame, [nth(0), nth(1)], SPEC, FACTS, {"x": "VARCHAR"})
    for day in (nth(0), nth(1)):
        assert (found(findings, "of_type", "x", day).severity, found(findings, "of_type", "x", day).partial_unexpected_list) == (
            "severe",
            ["VARCHAR"],
        )
        assert found(findings, "in_range", "x", day).reason == "x is VARCHAR"


@pytest.mark.parametrize("column", ["x", "c", "key", "at", "score"])
def test_an_absent_column_is_a_severe_finding_and_not_a_crash(column):
    findings = evaluate(log(SPEC, {0: 10}).drop(columns=column), [FIRST], SPEC, FACTS)
    of_type, *others = [f for f in findings if f.column == column]
    assert (of_type.check, of_type.severity, of_type.partial_unexpected_list) == ("of_type", "severe", ["absent"])
    assert others
    assert {(f.severity, f.success, f.reason) for f in others} == {(None, None, f"{column} is absent")}


NAMES = [
    "it's",
    'a "b"',
    "two words",
    "größe 你好",
    "$PARAMETER",
    "a.b",
    "{x}",
    "column",
    "index",
    "`tick`",
    '"quoted"',
    "%s",
]


def test_columns_may_have_any_name():
    spec = make_spec({name: {"kind": "numeric", "minimum": 0} for name in NAMES})
    bad = {name: [-1.0] * place + [1.0] * (20 - place) for place, name in enumerate(NAMES)}
    findings = evaluate_one_day(20, spec, ReferenceFacts(), **bad)
    counts = [found(findings, "in_range", name).unexpected_count for name in NAMES]
    assert counts == list(range(len(NAMES)))


rows_of_a_day = st.lists(
    st.tuples(
        st.sampled_from(["i", "j", "k", None]),
        st.sampled_from([None, float("nan"), -50.0, 0.0, 100.0, 111.0, float("inf")]),
        st.sampled_from([None, "a", "b", "new", "ü'"]),
        st.sampled_from([0.5, 2.0, None]),
    ),
    max_size=25,
)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(st.lists(rows_of_a_day, min_size=1, max_size=4))
def test_a_day_is_judged_the_same_alone_or_in_a_range(days):
    flat = [(number, *row) for number, rows in enumerate(days) for row in rows]
    columns = dict(zip(("key", "x", "c", "score"), map(list, zip(*(row[1:] for row in flat), strict=True)), strict=False))
    frame = log(SPEC, {number: len(rows) for number, rows in enumerate(days)}, **columns)
    everything = evaluate(frame, [nth(number) for number in range(len(days))], SPEC, FACTS)
    for number in range(len(days)):
        alone = evaluate(frame[frame["day"] == nth(number)], [nth(number)], SPEC, FACTS)
        assert alone == [finding for finding in everything if finding.day == nth(number)]


def test_counts_equal_a_plain_group_by():
    rng = np.random.default_rng(0)
    frame = log(SPEC, {0: 40, 1: 0, 2: 60}, x=rng.choice([1.0, 500.0, np.nan], 100).tolist())
    frame = frame.sample(frac=1, random_state=1)  # any row order, any index
    findings = evaluate(frame, [nth(2), nth(1), nth(0)], SPEC, FACTS)
    assert [f.day for f in findings if f.check == "row_count"] == [nth(2), nth(1), nth(0)]
    for number in (0, 2):
        rows = frame[frame["day"] == nth(number)]["x"]
        assert found(findings, "in_range", "x", nth(number)).unexpected_count == (rows == 500).sum()
        assert found(findings, "not_null", "x", nth(number)).unexpected_count == rows.isna().sum()


def test_rows_of_a_day_that_was_not_asked_for_are_left_alone():
    frame = log(SPEC, {0: 10, 1: 5}, x=[1.0] * 10 + [None] * 5)
    assert {finding.day for finding in evaluate(frame, [FIRST], SPEC, FACTS)} == {FIRST}


def test_evaluating_is_silent_and_opens_no_connection(monkeypatch, capfd):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    evaluate(log(SPEC, {0: 10, 1: 5}, x=[None] * 15), [nth(0), nth(1)], SPEC, FACTS)
    assert capfd.readouterr() == ("", "")


def test_threads_do_not_see_each_others_rows():
    frames = [log(SPEC, {0: 20}, x=[None] * bad + [1.0] * (20 - bad)) for bad in range(0, 16, 2)]
    with ThreadPoolExecutor(4) as pool:
        judged = list(pool.map(lambda frame: evaluate(frame, [FIRST], SPEC, FACTS), frames))
    assert [found(findings, "not_null", "x").unexpected_count for findings in judged] == list(range(0, 16, 2))
    assert [found(findings, "not_null", "x").severity for findings in judged][::7] == ["ok", "severe"]


def reference_of(columns: dict[str, np.ndarray], kinds: dict[str, str], rows_a_day: int) -> dict[tuple[None, str], Histogram]:
    """Exact daily histograms, as the warehouse keeps them of a reference."""
    days = len(next(iter(columns.values()))) // rows_a_day
    made = {}
    for name, values in columns.items():
        support, codes = np.unique(values, return_inverse=True)
        counts = np.stack([np.bincount(part, minlength=len(support)) for part in codes.reshape(days, rows_a_day)]).astype(float)
        low, high = values.reshape(days, rows_a_day).min(1), values.reshape(days, rows_a_day).max(1)
        dates = [nth(number - days) for number in range(days)]
        made[None, name] = Histogram(kinds[name], dates, support, counts, np.zeros(days), low, high, True)
    return made


def test_outliers_are_six_robust_deviations_from_the_median_or_out_of_the_widened_range():
    values = np.tile(np.arange(-10.0, 11.0), 40)  # median 0; half of |x| up to 5: the robust deviation is 5 x 1.4826
    values[0] = 300.0
    spec = make_spec({"x": {"kind": "numeric"}})
    facts = reference_facts(reference_of({"x": values}, {"x": "numeric"}, 42), spec)
    assert facts.usual_values["x"] == pytest.approx((-10 - 0.1 * 310, 6 * 5 * 1.4826))
    assert facts.outlier_fraction["x"] == pytest.approx(1 / 840)
    outliers = found(
        evaluate_one_day(100, spec, facts, x=[44.0] * 50 + [45.0] * 20 + [46.0] * 10 + [0.0] * 20), "no_outliers", "x"
    )
    assert (outliers.unexpected_count, outliers.partial_unexpected_list, outliers.severity) == (30, ["45.0", "46.0"], "minor")
    many = found(evaluate_one_day(100, spec, facts, x=[45.0] * 60 + [0.0] * 40), "no_outliers", "x")
    assert many.severity == "moderate"


def test_a_constant_prediction_is_severe_once_chance_cannot_explain_it():
    scores = np.tile([0.1, 0.2, 0.2, 0.3], 100)  # half of the reference's predictions are 0.2
    facts = reference_facts(reference_of({"score": scores}, {"score": "numeric"}, 40), SPEC)
    assert facts.commonest_prediction == 0.5
    assert found(evaluate_one_day(8, facts=facts, score=[0.2] * 8), "prediction_varies", "score").severity == "ok"
    assert found(evaluate_one_day(100, facts=facts, score=[0.2] * 100), "prediction_varies", "score").severity == "severe"
    varied = [0.2] * 99 + [0.21]
    assert found(evaluate_one_day(100, facts=facts, score=varied), "prediction_varies", "score").severity == "ok"


def test_a_day_that_ends_early_is_moderate_and_fewer_rows_end_earlier():
    facts = ReferenceFacts(last_event=LastEvent(0.5, 1.0, 0.1, 30, 100))  # up to 1 h + 1 h before midnight

    def ending(time: str, rows: int) -> Finding:
        return found(evaluate_one_day(rows, facts=facts, at=[f"2026-01-01 {time}+00"] * rows), "fresh", "at")

    assert [ending(time, 100).severity for time in ("23:00", "22:01", "21:59", "12:00")] == ["ok", "ok", "moderate", "moderate"]
    assert ending("12:00", 100).observed == 12
    assert ending("21:59", 50).severity == "ok"


@pytest.mark.slow
def test_a_correlation_is_lost_when_less_than_half_is_left_beyond_noise():
    spec = make_spec({"x": {"kind": "numeric"}, "y": {"kind": "numeric"}})
    facts = ReferenceFacts(correlations={("x", "y"): Correlation(-0.8, 0.0)})
    random = np.random.default_rng(0)

    def judged(rows: int, r: float) -> Finding:
        x = random.normal(size=rows)
        y = r * x + np.sqrt(1 - r**2) * random.normal(size=rows)
        return found(evaluate_one_day(rows, spec, facts, x=x.tolist(), y=y.tolist()), "correlated", "x ~ y")

    assert [judged(2000, r).severity for r in (-0.8, -0.5, -0.2, 0.0, 0.8)] == ["ok", "ok", "minor", "minor", "minor"]
    assert judged(10, 0.0).severity == "ok"
    assert judged(2000, -0.2).observed == pytest.approx(-0.2, abs=0.1)


def test_a_constant_or_empty_pair_has_no_correlation_and_is_not_judged():
    spec = make_spec({"x": {"kind": "numeric"}, "y": {"kind": "numeric"}})
    facts = ReferenceFacts(correlations={("x", "y"): Correlation(0.8, 0.0)})
    constant = "of the 10 rows with x and y one column has the same value in all"
    nothing = "no row has a value of x and y"
    for value, reason in ((1.0, constant), (None, nothing), (float("nan"), nothing), (float("inf"), nothing)):
        finding = found(evaluate_one_day(10, spec, facts, x=[value] * 10), "correlated", "x ~ y")
        assert (finding.severity, finding.success, finding.reason) == (None, None, reason)


def test_rules_about_values_are_not_judged_on_a_day_without_any_unless_that_is_usual():
    facts = replace(FACTS, commonest_prediction=0.01, usual_values={"x": (0.0, 100.0)}, outlier_fraction={"x": 0.0})
    empty = evaluate_one_day(100, facts=facts, x=[None] * 100, score=[None] * 100)
    for check, column in (
        ("in_range", "x"), ("no_outliers", "x"), ("in_range", "score"), ("prediction_varies", "score"),
    ):  # fmt: skip
        finding = found(empty, check, column)
        assert (finding.severity, finding.success, finding.reason) == (None, None, f"no row has a value of {column}")
    usually_empty = replace(facts, missing_fraction={"x": 0.99}, highest_missing={"x": 1.0})
    assert found(evaluate_one_day(100, facts=usually_empty, x=[None] * 100), "in_range", "x").severity == "ok"
