"""Laws of a day's quality in the warehouse: what is learnt from a baseline, what is stored, what users declare themselves, and
that quiet days stay quiet at any number of rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from monitoring_assets.baselines.building import build_candidate_baseline
from monitoring_assets.baselines.in_force import discard_candidate_baseline, put_in_force
from monitoring_assets.demo.flights import FEATURES, load_flights
from monitoring_assets.errors import ExpectationUnusable
from monitoring_assets.monitor_spec import MonitorSpec, days_between
from monitoring_assets.quality.daily_findings import daily_findings
from monitoring_assets.quality.expectations import Volume
from monitoring_assets.quality.facts import read_facts, weekday_volumes
from monitoring_assets.quality.findings import Finding
from monitoring_assets.warehouse import Warehouse, ensure_tables, table
from monitoring_assets_tests.example_monitor import (
    example_rows,
    example_spec,
    example_warehouse,
    reference_baseline,
    write_day,
    write_reference,
)
from monitoring_assets_tests.ingested_days import ingest_log

pytestmark = pytest.mark.slow

ROWS = 300
REFERENCE = days_between(date(2026, 2, 18), date(2026, 2, 25))
DAY, NEXT = date(2026, 3, 10), date(2026, 3, 11)


@contextmanager
def judged_monitor(home: Path, frames: dict[date, pd.DataFrame], **overrides: Any) -> Iterator[tuple[Any, MonitorSpec]]:
    """A warehouse with a reference and these days of the log."""
    spec = example_spec(home, reference={"path": "reference.parquet"}, **overrides)
    write_reference(home, frame=pd.concat([related(day) for day in REFERENCE]))
    for day, frame in frames.items():
        write_day(home, day, frame=frame)
    with example_warehouse(home, spec) as connection:
        reference_baseline(connection, spec)
        ingest_log(connection, spec, list(frames))
        yield connection, spec


def related(day: date, rows: int = ROWS) -> pd.DataFrame:
    """A day on which `items` follows `amount`."""
    frame = example_rows(day, rows)
    return frame.assign(items=(frame["amount"] / 10 + np.random.default_rng(day.day).normal(0, 0.3, rows)).round(2))


def bad(findings: list[Finding]) -> dict[tuple[str, str | None], str]:
    return {(f.check, f.column): f.severity for f in findings if f.severity != "ok"}


def test_a_day_like_the_reference_is_sound_in_every_kind(tmp_path):
    with judged_monitor(tmp_path, {DAY: related(DAY)}) as (connection, spec):
        findings = daily_findings(connection, spec, [DAY])
    assert bad(findings) == {}
    assert {f.check for f in findings} >= {"no_outliers", "prediction_varies", "fresh", "correlated"}


def test_a_shuffled_column_loses_its_correlation_and_a_cut_day_its_end(tmp_path):
    shuffled = related(DAY)
    shuffled["items"] = np.random.default_rng(1).permutation(shuffled["items"])
    cut = related(NEXT).iloc[: ROWS * 2 // 3]  # the rows are spread evenly over the day
    with judged_monitor(tmp_path, {DAY: shuffled, NEXT: cut}) as (connection, spec):
        assert bad(daily_findings(connection, spec, [DAY])) == {("correlated", "amount ~ items"): "minor"}
        findings = daily_findings(connection, spec, [NEXT])
    assert bad(findings) == {("fresh", "at"): "moderate"}
    (hours,) = [f.observed for f in findings if f.check == "fresh"]
    assert 8 < hours < 8.3


def test_findings_are_stored_replaced_per_day_and_the_same_however_days_are_grouped(tmp_path):
    broken = related(NEXT).assign(amount=None)
    with judged_monitor(tmp_path, {DAY: related(DAY), NEXT: broken}) as (connection, spec):
        stored = f"SELECT * FROM {table(spec, 'quality')} ORDER BY ALL"
        together = daily_findings(connection, spec, [DAY, NEXT])
        first = repr(connection.execute(stored).fetchall())  # nan, where a rule was not judged, is not equal to itself
        for day in (NEXT, DAY, DAY):
            daily_findings(connection, spec, [day])
        again = connection.execute(stored).fetchall()
        assert repr(again) == first
        assert len(again) == len(together)
        reported = connection.execute(
            f"SELECT day, severity, unexpected_count, len(partial_unexpected_list), baseline_id FROM {table(spec, 'quality')} "
            "WHERE kind = 'not_null' AND severity <> 'ok'"
        ).fetchall()
        (baseline_id,) = connection.execute(f"SELECT baseline_id FROM {table(spec, 'baselines')}").fetchone()
    assert reported == [(NEXT, "severe", ROWS, 5, baseline_id)]


def test_rows_that_come_anew_are_not_judged_by_what_was_found_of_the_old_ones(tmp_path):
    with judged_monitor(tmp_path, {DAY: related(DAY), NEXT: related(NEXT)}) as (connection, spec):
        daily_findings(connection, spec, [DAY, NEXT])
        ingest_log(connection, spec, [NEXT])
        days = f"SELECT DISTINCT day FROM {table(spec, 'quality')} ORDER BY day"
        assert connection.execute(days).fetchall() == [(DAY,)]
        (tmp_path / "log" / f"{DAY}.parquet").unlink()  # a day that cannot be read keeps its rows, and what is known of them
        ingest_log(connection, spec, [DAY])
        assert connection.execute(days).fetchall() == [(DAY,)]


def test_before_there_is_a_baseline_the_contract_alone_is_judged(tmp_path):
    spec = example_spec(tmp_path)
    write_day(tmp_path, DAY, frame=example_rows(DAY, ROWS).assign(amount=None))
    with example_warehouse(tmp_path, spec) as connection:
        ingest_log(connection, spec, [DAY])
        findings = daily_findings(connection, spec, [DAY])
        stored = connection.execute(f"SELECT DISTINCT baseline_id FROM {table(spec, 'quality')}").fetchall()
    assert bad(findings) == {("not_null", "amount"): "severe"}
    assert stored == [(None,)]


def test_a_day_is_compared_with_the_same_weekday_and_with_all_days_where_those_are_few():
    mondays, sundays = ([date(2026, 3, 2 + offset + 7 * week) for week in range(4)] for offset in (0, 6))
    volumes = weekday_volumes([*mondays, *sundays, date(2026, 3, 4)], [100, 110, 90, 100, 10, 12, 8, 10, 50])
    assert (volumes[0].median, volumes[6].median) == (100, 10)
    assert volumes[0].spread == volumes[6].spread == pytest.approx(1.4826 * 1)  # deviations 0 0 0 0 2 2 10 10
    assert volumes[2] == Volume(50, pytest.approx(1.4826 * 40))


def test_a_candidates_baseline_knows_its_days_facts_from_the_log_and_from_the_first_reference(tmp_path):
    with judged_monitor(tmp_path, {DAY: related(DAY), NEXT: related(NEXT)}) as (connection, spec):
        days = [*REFERENCE[-3:], DAY, NEXT]
        predictions = pd.DataFrame({"day": days, "score": 0.5, "country": "US"})
        made = build_candidate_baseline(connection, spec, predictions, "2", "auc", 0.9)
        facts = f"SELECT day, count(*) FROM {table(spec, 'baseline_facts')} WHERE baseline_id = ? GROUP BY day ORDER BY day"
        found = connection.execute(facts, [made.baseline_id]).fetchall()
        assert found == [(day, 2) for day in days]  # the last event, and the one strong pair
        again = build_candidate_baseline(connection, spec, predictions, "2", "auc", 0.9)
        assert connection.execute(facts, [again.baseline_id]).fetchall() == found
        put_in_force(connection, spec, "2", NEXT)
        assert read_facts(connection, spec, made.baseline_id).correlations[("amount", "items")].median > 0.9
        other = build_candidate_baseline(connection, spec, predictions, "3", "auc", 0.9)
        discard_candidate_baseline(connection, spec, "3")
        assert connection.execute(facts, [other.baseline_id]).fetchall() == []


def test_only_a_live_monitors_newest_day_grows_old(tmp_path):
    quality = {"maximum_age_hours": 12}
    with judged_monitor(tmp_path, {DAY: related(DAY), NEXT: related(NEXT)}, quality=quality) as (connection, spec):
        ended = datetime(2026, 3, 12, 4, tzinfo=UTC)  # midnight in New York
        for hours, severity in ((11, "ok"), (13, "moderate")):
            findings = daily_findings(connection, spec, [DAY, NEXT], ended + timedelta(hours=hours))
            age = [f for f in findings if f.check == "fresh" and f.column is None]
            assert [(f.day, f.severity, f.observed) for f in age] == [(NEXT, severity, hours)]
        assert not [f for f in daily_findings(connection, spec, [DAY], ended) if f.check == "fresh" and f.column is None]


DECLARED = [
    {"type": "expect_column_mean_to_be_between", "column": "amount", "min_value": 45, "max_value": 55, "severity": "minor"},
    {"type": "expect_column_values_to_be_in_set", "column": "country", "value_set": ["US", "DE"], "mostly": 0.9},
    {"type": "expect_table_row_count_to_be_between", "min_value": 1000, "severity": "severe"},
    {"type": "expect_column_pair_values_a_to_be_greater_than_b", "column_A": "amount", "column_B": "items"},
    {
        "type": "expect_column_quantile_values_to_be_between",
        "column": "amount",
        "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[0, 1]]},
    },
]


def test_any_expectation_is_evaluated_on_each_day_by_its_name(tmp_path):
    high = related(NEXT).assign(amount=lambda frame: frame["amount"] + 30, country="US")
    with judged_monitor(tmp_path, {DAY: related(DAY), NEXT: high}, quality={"expectations": DECLARED}) as (connection, spec):
        findings = [f for f in daily_findings(connection, spec, [DAY, NEXT]) if f.check == "declared"]
    by_day = {day: {f.expectation: f for f in findings if f.day == day} for day in (DAY, NEXT)}
    mean, countries, volume, pair, quantile = (entry["type"] for entry in DECLARED)
    reported = {day: {name: finding.severity for name, finding in found.items()} for day, found in by_day.items()}
    assert reported[DAY] == {mean: "ok", countries: "moderate", volume: "severe", pair: "ok", quantile: "moderate"}
    assert reported[NEXT] == {mean: "minor", countries: "ok", volume: "severe", pair: "ok", quantile: "moderate"}
    assert by_day[NEXT][mean].observed == pytest.approx(high["amount"].mean())
    strangers = (related(DAY)["country"] == "JP").sum()
    assert (by_day[DAY][countries].unexpected_count, set(by_day[DAY][countries].partial_unexpected_list)) == (strangers, {"JP"})
    assert by_day[DAY][volume].observed == ROWS
    assert by_day[NEXT][mean].expected == "expect column mean to be between (min_value 45, max_value 55)"


@pytest.mark.parametrize(
    ("declared", "reported"),
    [
        (
            {"type": "expect_column_maen_to_be_between", "column": "amount"},
            ["has no 'expect_column_maen_to_be_between'", "did you mean expect_column_mean_to_be_between"],
        ),
        ({"type": "expect_miracles"}, ["has no 'expect_miracles'"]),
        (
            {"type": "expect_column_mean_to_be_between", "column": "amount", "minimum": 3},
            ["expect_column_mean_to_be_between with column 'amount', minimum 3 is refused", "minimum: extra fields", "min_value"],
        ),
        ({"type": "expect_column_mean_to_be_between", "min_value": 3}, ["column: field required"]),
        (
            {"type": "expect_column_values_to_be_between", "column": "country", "min_value": 3},
            ["expect_column_values_to_be_between with column 'country', min_value 3", "could not be evaluated: Column values, "],
        ),
        (
            {"type": "expect_column_values_to_be_in_set", "column": "amount", "value_set": [1], "row_condition": "nothing > 1"},
            ["expect_column_values_to_be_in_set", "could not be evaluated"],
        ),
    ],
)
def test_an_expectation_that_cannot_be_used_is_an_error_that_names_it_and_never_a_pass(tmp_path, declared, reported):
    with judged_monitor(tmp_path, {DAY: related(DAY)}, quality={"expectations": [declared]}) as (connection, spec):
        with pytest.raises(ExpectationUnusable) as refused:
            daily_findings(connection, spec, [DAY])
        assert connection.execute(f"SELECT count(*) FROM {table(spec, 'quality')}").fetchone() == (0,)
    assert all(part in str(refused.value) for part in reported), str(refused.value)


def flights_warehouse(
    connection: duckdb.DuckDBPyConnection, flights: pd.DataFrame, rows: int, days: int, seed: int
) -> MonitorSpec:
    """Days of so many flights each, drawn from the whole year: none differs from another but by chance."""
    drawn = flights.iloc[np.random.default_rng(seed).permutation(len(flights))[: rows * days]].reset_index(drop=True)
    day = pd.date_range("2013-01-01", periods=days)[np.arange(rows * days) // rows]
    time = drawn["scheduled_departure"]
    departure = (day + (time - time.dt.normalize())).dt.tz_localize("America/New_York", nonexistent="shift_forward")
    drawn = drawn.assign(day=day, departure=departure)
    spec = MonitorSpec.model_validate(
        {
            "name": "flights", "id": "flight_id", "event_time": "departure", "time_zone": "America/New_York",
            "start_day": "2013-01-01",
            "features": {name: {"kind": kind} for name, kind in FEATURES.items()}, "prediction": {"score": "score"},
            "log": {"path": "/unused.parquet"}, "reference": {"first_day": "2013-01-01", "last_day": "2013-03-01"},
        }
    )  # fmt: skip
    ensure_tables(connection, spec)
    connection.register("drawn", drawn)
    columns = ", ".join(["flight_id", "departure", "score", *FEATURES])
    connection.execute(f"INSERT INTO {table(spec, 'inference_log')} BY NAME SELECT day::DATE AS day, {columns} FROM drawn")
    reference_baseline(connection, spec)
    return spec


@pytest.mark.parametrize("rows", [100, 920])
def test_at_most_2_percent_of_quiet_days_have_a_finding(tmp_path, rows):
    flights = load_flights()
    flights["score"] = np.random.default_rng(9).beta(2, 5, len(flights))
    days = 240
    judged = days_between(date(2013, 3, 2), date(2013, 1, 1) + timedelta(days=days - 1))
    with Warehouse(tmp_path / "quiet.duckdb").connect() as connection:
        spec = flights_warehouse(connection, flights, rows, days, seed=rows)
        quiet = daily_findings(connection, spec, judged)
        # The same days are found fault with as soon as there is one: four in ten temperatures missing on every day.
        connection.execute(f"UPDATE {table(spec, 'inference_log')} SET temp = NULL WHERE hash(flight_id) % 100 < 40")
        broken = daily_findings(connection, spec, judged)
    alarming = {f.day for f in quiet if f.severity != "ok"}
    assert len(alarming) <= 0.02 * len(judged), sorted((f.day, f.check, f.column) for f in quiet if f.severity != "ok")
    severe = {f.day for f in broken if (f.check, f.column, f.severity) == ("not_null", "temp", "severe")}
    assert len(severe) >= 0.99 * len(judged)
