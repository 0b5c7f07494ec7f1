"""Days judged by Great Expectations: what is found, that it is found on the right day, and that it does not depend on
which other days are judged with it. Frames come out of DuckDB, as they do in production."""

import gc
import socket
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import duckdb
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from monitoring_assets.errors import MonitoringError, PermanentError
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.quality.expectations import ReferenceFacts
from monitoring_assets.quality.findings import Finding, evaluate_days
from monitoring_assets.quality.validation import COLUMNS_PER_BATCH, Rule, rows_breaking
from monitoring_assets.warehouse import quoted
from monitoring_assets_tests.quality.test_expectations import make_spec

FIRST = date(2026, 1, 1)
SPEC = make_spec({"x": {"kind": "numeric"}, "c": {"kind": "categorical"}})
FACTS = ReferenceFacts(
    missing_fraction={"x": 0.1},
    minimum={"x": 0},
    maximum={"x": 100},
    categories={"c": ["a", "b"]},
    median_daily_rows=10,
)


def nth(number: int) -> date:
    return FIRST + timedelta(days=number)


def log(spec: MonitorSpec, days: dict[int, int], **columns) -> pd.DataFrame:
    """A log with so many rows on each day, all good, typed by DuckDB; `columns` replaces values of whole columns."""
    numbers = [number for number, rows in days.items() for _ in range(rows)]
    good = {"VARCHAR": "a", "DOUBLE": 0.5, "TIMESTAMPTZ": "2026-01-01 00:00:00+00"}
    raw = {"day": [nth(number) for number in numbers]}
    raw |= {name: [good[kind]] * len(numbers) for name, kind in spec.log_columns.items()}
    raw |= {spec.id: [f"id{row}" for row in range(len(numbers))]} | columns
    types = {"day": "DATE"} | spec.log_columns
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE log ({', '.join(f'{quoted(n)} {t}' for n, t in types.items())})")
        rows = list(zip(*raw.values(), strict=True))
        if rows:
            connection.executemany(f"INSERT INTO log VALUES ({', '.join('?' * len(types))})", rows)
        return connection.execute("SELECT * FROM log").df()


def found(findings: list[Finding], check: str, column: str | None, day: date = FIRST) -> Finding:
    (finding,) = [f for f in findings if (f.check, f.column, f.day) == (check, column, day)]
    return finding


def evaluate_one_day(rows: int = 10, spec: MonitorSpec = SPEC, facts: ReferenceFacts = FACTS, **columns) -> list[Finding]:
    return evaluate_days(log(spec, {0: rows}, **columns), [FIRST], spec, facts)


def test_a_good_day_is_ok_in_every_check():
    findings = evaluate_one_day()
    assert {finding.severity for finding in findings} == {"ok"}
    assert {finding.check for finding in findings} == {
        "not_null", "in_range", "in_set", "of_type", "unique_id", "row_count",
    }  # fmt: skip


def test_the_missing_share_is_judged_above_the_references_own_and_shows_the_rows_ids():
    # allowed: 10 % usual + 1 %; severe above 15 %
    finding = found(evaluate_one_day(x=[None] + [1.0] * 9), "not_null", "x")
    assert (finding.severity, finding.observed, finding.samples) == ("ok", 0.1, ["id0"])
    finding = found(evaluate_one_day(x=[1.0] * 8 + [None, float("nan")]), "not_null", "x")
    assert (finding.severity, finding.unexpected_count, finding.samples) == ("severe", 2, ["id8", "id9"])
    finding = found(evaluate_one_day(rows=8, x=[None] + [1.0] * 7), "not_null", "x")
    assert (finding.severity, finding.unexpected_share) == ("minor", 0.125)


def test_one_null_is_severe_where_the_contract_says_not_nullable():
    spec = make_spec({"x": {"kind": "numeric", "nullable": False}})
    facts = ReferenceFacts(missing_fraction={"x": 0.5})
    finding = found(evaluate_one_day(rows=1000, spec=spec, facts=facts, x=[None] + [1.0] * 999), "not_null", "x")
    assert (finding.severity, finding.observed) == ("severe", 0.001)


def test_values_out_of_range_are_counted_over_all_rows_and_missing_ones_are_not_among_them():
    finding = found(evaluate_one_day(x=[None, 110.0, 110.5, -11.0, float("inf")] + [1.0] * 5), "in_range", "x")
    assert (finding.unexpected_count, finding.unexpected_share) == (3, 0.3)
    assert finding.samples == ["110.5", "-11.0", "inf"]
    assert finding.expected == "between -10 and 110"


def test_an_unseen_category_is_found_and_a_missing_one_is_not_a_category():
    finding = found(evaluate_one_day(rows=50, c=["ü '\"; DROP", None] + ["a"] * 48), "in_set", "c")
    assert (finding.severity, finding.unexpected_share, finding.samples) == ("minor", 0.02, ["ü '\"; DROP"])


def test_samples_are_distinct_few_and_short():
    spec = make_spec({"c": {"kind": "categorical", "allowed": ["a"]}}, samples=2)
    finding = found(evaluate_one_day(spec=spec, c=["x" * 500] * 5 + ["y"] * 3 + ["z"] * 2), "in_set", "c")
    assert [len(sample) for sample in finding.samples] == [80, 1]


def test_an_id_is_unique_within_its_day_only():
    frame = log(SPEC, {0: 3, 1: 2}, key=["a", "b", "a", "a", "b"])
    findings = evaluate_days(frame, [nth(0), nth(1)], SPEC, FACTS)
    first, second = found(findings, "unique_id", "key"), found(findings, "unique_id", "key", nth(1))
    assert (first.severity, first.unexpected_count, first.samples) == ("severe", 2, ["a"])
    assert (second.severity, second.unexpected_count) == ("ok", 0)


def test_missing_ids_are_missing_and_not_repeated():
    findings = evaluate_one_day(key=[None, None] + [f"id{row}" for row in range(8)])
    assert found(findings, "unique_id", "key").severity == "ok"
    assert (found(findings, "not_null", "key").severity, found(findings, "not_null", "key").samples) == ("severe", [])


@pytest.mark.parametrize(("rows", "severity"), [(4, "moderate"), (5, "ok"), (20, "ok"), (21, "moderate")])
def test_the_volume_may_be_half_to_twice_the_median(rows, severity):
    finding = found(evaluate_one_day(rows), "row_count", None)
    assert (finding.severity, finding.observed) == (severity, rows)


def test_a_day_without_rows_is_severe_and_its_shares_are_undefined_not_zero():
    findings = evaluate_days(log(SPEC, {0: 10}), [nth(0), nth(1)], SPEC, FACTS)
    empty = [finding for finding in findings if finding.day == nth(1)]
    assert {finding.check for finding in empty} == {"row_count", "of_type"}
    assert found(empty, "row_count", None, nth(1)).severity == "severe"


def test_an_empty_frame_is_evaluated_and_no_days_have_no_findings():
    empty = log(SPEC, {})
    assert {f.severity for f in evaluate_days(empty, [FIRST], SPEC, FACTS) if f.check == "row_count"} == {"severe"}
    assert evaluate_days(empty, [], SPEC, FACTS) == []


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
    findings = evaluate_days(frame, [nth(0), nth(1)], SPEC, FACTS)
    for day in (nth(0), nth(1)):
        assert (found(findings, "of_type", "x", day).severity, found(findings, "of_type", "x", day).samples) == (
            "severe",
            ["object"],
        )
    assert [f for f in findings if f.check == "in_range" and f.column == "x"] == []


@pytest.mark.parametrize("column", ["x", "c", "key", "at", "score"])
def test_an_absent_column_is_a_severe_finding_and_not_a_crash(column):
    findings = evaluate_days(log(SPEC, {0: 10}).drop(columns=column), [FIRST], SPEC, FACTS)
    assert [(f.check, f.severity, f.samples) for f in findings if f.column == column] == [("of_type", "severe", ["absent"])]


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
    assert len(NAMES) > COLUMNS_PER_BATCH
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


@settings(max_examples=12, deadline=None)
@given(st.lists(rows_of_a_day, min_size=1, max_size=4))
def test_a_day_is_judged_the_same_alone_or_in_a_range(days):
    flat = [(number, *row) for number, rows in enumerate(days) for row in rows]
    columns = dict(zip(("key", "x", "c", "score"), map(list, zip(*(row[1:] for row in flat), strict=True)), strict=False))
    frame = log(SPEC, {number: len(rows) for number, rows in enumerate(days)}, **columns)
    everything = evaluate_days(frame, [nth(number) for number in range(len(days))], SPEC, FACTS)
    for number in range(len(days)):
        alone = evaluate_days(frame[frame["day"] == pd.Timestamp(nth(number))], [nth(number)], SPEC, FACTS)
        assert alone == [finding for finding in everything if finding.day == nth(number)]


def test_counts_equal_a_plain_group_by():
    rng = np.random.default_rng(0)
    frame = log(SPEC, {0: 40, 1: 0, 2: 60}, x=rng.choice([1.0, 500.0, np.nan], 100).tolist())
    frame = frame.sample(frac=1, random_state=1)  # any row order, any index
    findings = evaluate_days(frame, [nth(2), nth(1), nth(0)], SPEC, FACTS)
    assert [f.day for f in findings if f.check == "row_count"] == [nth(2), nth(1), nth(0)]
    for number in (0, 2):
        rows = frame[frame["day"] == pd.Timestamp(nth(number))]["x"]
        assert found(findings, "in_range", "x", nth(number)).unexpected_count == (rows == 500).sum()
        assert found(findings, "not_null", "x", nth(number)).unexpected_count == rows.isna().sum()


def test_days_may_be_dates_or_timestamps_in_the_frame():
    frame = log(SPEC, {0: 10, 1: 5})
    days = [nth(0), nth(1)]
    as_dates = frame.assign(day=frame["day"].dt.date)
    assert evaluate_days(as_dates, days, SPEC, FACTS) == evaluate_days(frame, days, SPEC, FACTS)


def test_rows_of_a_day_that_was_not_asked_for_are_refused():
    with pytest.raises(PermanentError, match=r"1 days asked for only, found 5 others, the first of 2026-01-02"):
        evaluate_days(log(SPEC, {0: 10, 1: 5}), [FIRST], SPEC, FACTS)
    with pytest.raises(PermanentError, match="needs a column 'day'"):
        evaluate_days(log(SPEC, {0: 1}).drop(columns="day"), [FIRST], SPEC, FACTS)


@pytest.mark.parametrize(
    "rule",
    [
        Rule("ExpectColumnValuesToBeBetween", ("text",), {"column": "text", "min_value": 0.0}),
        Rule("ExpectColumnValuesToNotBeNull", ("text",), {"column": "gone"}),
    ],
)
def test_what_great_expectations_could_not_evaluate_is_an_error_that_names_rule_and_column(rule):
    with pytest.raises(MonitoringError, match=rf"{rule.name} on column 'text' could not be evaluated: \S"):
        rows_breaking([rule], pd.DataFrame({"text": ["a", "b"]}))


def test_evaluating_is_silent_opens_no_connection_and_keeps_and_changes_no_frame(monkeypatch, capfd):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    frame = log(SPEC, {0: 10, 1: 5}, x=[None] * 15)
    before = frame.copy()
    evaluate_days(frame, [nth(0), nth(1)], SPEC, FACTS)
    pd.testing.assert_frame_equal(frame, before)
    assert capfd.readouterr() == ("", "")
    remains = weakref.ref(frame)
    del frame
    gc.collect()
    assert remains() is None


def test_threads_do_not_see_each_others_rows():
    frames = [log(SPEC, {0: 20}, x=[None] * bad + [1.0] * (20 - bad)) for bad in range(8)]
    with ThreadPoolExecutor(4) as pool:
        judged = list(pool.map(lambda frame: evaluate_days(frame, [FIRST], SPEC, FACTS), frames))
    assert [found(findings, "not_null", "x").unexpected_count for findings in judged] == list(range(8))


def test_a_year_is_judged_in_one_pass_and_not_day_by_day(monkeypatch):
    calls = []
    real = rows_breaking

    def counted(rules, frame):
        calls.append(len(frame))
        return real(rules, frame)

    monkeypatch.setattr("monitoring_assets.quality.findings.rows_breaking", counted)
    days = [nth(number) for number in range(300)]
    findings = evaluate_days(log(SPEC, dict.fromkeys(range(300), 2)), days, SPEC, FACTS)
    assert calls == [len(SPEC.log_columns), 600, 300]  # the types, all rows, the days' row counts
    assert len({finding.day for finding in findings}) == 300
