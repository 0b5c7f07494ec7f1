"""Finer grids: values crowded in one bin are separated, and all counts still add up."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitoring_assets.drift.scores import Comparison
from monitoring_assets.engines.day_rows import StoredRows
from monitoring_assets.measuring.histograms import Histogram, read_histograms
from monitoring_assets.measuring.kernel import write_profiles
from monitoring_assets.measuring.watched import watched_rows
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.profiling.refinement import refine_profiles
from monitoring_assets.profiling.stored_grids import ensure_grids
from monitoring_assets.warehouse import ensure_tables, replace_days, table
from monitoring_assets_tests.example_monitor import contents, example_spec, reference_baseline

pytestmark = pytest.mark.slow

FIRST = date(2026, 3, 1)
STORED = ("profile_grids", "daily_profile")
ROWS = 5_000


class Log:
    """A monitor of one feature `x` over a log that is written straight into the warehouse."""

    def __init__(self, days: Sequence[np.ndarray], reference_days: int = 1, **overrides: object) -> None:
        last = FIRST + timedelta(days=reference_days - 1)
        features = {"x": {"kind": "numeric"}, "country": {"kind": "categorical"}}
        reference = {"first_day": str(FIRST), "last_day": str(last)}
        content = {"features": features, "reference": reference, "prediction": {"score": "score"}, **overrides}
        self.spec: MonitorSpec = example_spec(Path("nowhere"), **content)
        self.days, self.values = [FIRST + timedelta(days=place) for place in range(len(days))], days
        self.connection = duckdb.connect()
        ensure_tables(self.connection, self.spec)
        for day, values in zip(self.days, days, strict=True):
            self.write(day, values)
        reference_baseline(self.connection, self.spec)

    def write(self, day: date, values: np.ndarray) -> None:
        generator = np.random.default_rng(day.toordinal())
        columns = {"id": range(len(values)), "x": values, "score": generator.random(len(values))}
        countries = generator.choice(["US", "DE"], len(values))
        frame = pd.DataFrame(columns | {"country": countries, "at": pd.Timestamp(day), "day": day})
        if self.spec.sampling_weight:
            frame[self.spec.sampling_weight] = generator.choice([1.0, 2.5], len(values))
        self.connection.register("frame", frame)
        self.connection.execute("INSERT INTO example.inference_log BY NAME SELECT * REPLACE (id::VARCHAR AS id) FROM frame")

    def profile(self, *places: int, refine: bool = True) -> "Log":
        """Profile these days in one run, all unless some are named."""
        days, connection, spec = [self.days[place] for place in places] or self.days, self.connection, self.spec
        listed = ", ".join(f"DATE '{day}'" for day in days)
        rows = StoredRows(spec, f"(FROM {table(spec, 'inference_log')} WHERE day IN ({listed}))")
        grids = ensure_grids(connection, spec, rows, spec.watched_columns)
        connection.execute("CREATE OR REPLACE TEMP TABLE fresh AS FROM example.daily_profile LIMIT 0")
        watched = watched_rows(spec, rows.sql)
        write_profiles(connection, "fresh", watched, spec.watched_columns, grids, spec.segments, spec.sampling_weight)
        if refine:
            refine_profiles(connection, spec, "fresh", rows, spec.watched_columns)
        replace_days(connection, "example.daily_profile", days, "SELECT * FROM fresh ORDER BY ALL")
        return self

    def histogram(self, segment: str | None = None) -> Histogram:
        return read_histograms(self.connection, "example.daily_profile")[(segment, "x")]

    def day(self, place: int, segment: str | None = None) -> Histogram:
        return self.histogram(segment).windows([self.days[place]], 1)

    def compared(self, one: int, other: int) -> Comparison:
        return Comparison.of(self.day(one), self.day(other))

    def finer_grids(self) -> list[tuple[float, float]]:
        found = "SELECT bin_lower, bin_upper FROM example.profile_grids WHERE bin_lower IS NOT NULL ORDER BY ALL"
        return self.connection.execute(found).fetchall()

    def stored(self) -> dict[str, list[tuple[object, ...]]]:
        return contents(self.connection, self.spec, *STORED)


def moved(generator: np.random.Generator, rows: int = ROWS) -> list[np.ndarray]:
    return [generator.normal(0, 1, rows), generator.normal(0, 1, rows), *(generator.normal(1e6, 1, rows) for _ in range(3))]


def test_a_feature_that_moved_off_its_grid_is_resolved_again() -> None:
    days = moved(np.random.default_rng(1), 50_000)
    coarse, fine = Log(days).profile(refine=False), Log(days).profile()
    assert coarse.compared(2, 3).apply("ks")[2][0] > 0.99
    for one, other in ((2, 3), (3, 4), (0, 1)):
        score, _, bound = fine.compared(one, other).apply("ks")
        expected = stats.ks_2samp(days[one], days[other], method="asymp").statistic
        assert bound[0] <= 0.002
        assert abs(score[0] - expected) <= bound[0] + 1e-12
        score, _, bound = fine.compared(one, other).apply("wasserstein")
        expected = stats.wasserstein_distance(days[one], days[other]) / days[one].std()
        assert bound[0] < 0.01
        assert abs(score[0] - expected) <= bound[0]
    assert fine.compared(0, 3).apply("ks")[0][0] == pytest.approx(1.0)


@pytest.mark.parametrize("values", ["one value", "whole numbers", "seven", "two clusters", "huge"])
def test_whatever_a_feature_moves_to_is_resolved(values: str) -> None:
    generator = np.random.default_rng(2)

    def draw() -> np.ndarray:
        match values:
            case "one value":
                return np.full(ROWS, 77.7)
            case "whole numbers":
                return generator.poisson(40_000, ROWS).astype(float)
            case "seven":
                return generator.choice(np.pi * np.arange(50, 57), ROWS)
            case "two clusters":
                return np.where(generator.random(ROWS) < 0.5, 0.0, 5e8) + generator.normal(0, 1e-2, ROWS) + 1e3
            case _:
                return generator.normal(size=ROWS) * 1e300

    days = [generator.normal(size=ROWS), draw(), draw()]
    score, _, bound = Log(days).profile().compared(1, 2).apply("ks")
    assert bound[0] <= 1.5 / np.sqrt(ROWS)
    assert abs(score[0] - stats.ks_2samp(days[1], days[2], method="asymp").statistic) <= bound[0] + 1e-12


def test_a_reference_that_its_first_grid_does_not_resolve_gets_a_finer_one_at_once() -> None:
    generator = np.random.default_rng(3)
    day = np.where(generator.random(20_000) < 0.5, 0.0, 5e8) + generator.normal(0, 1e-3, 20_000)
    log = Log([day])
    assert log.finer_grids()
    (baseline,) = [
        found for key, found in read_histograms(log.connection, "example.baseline_profiles").items() if key == (None, "x")
    ]
    assert Comparison.of(baseline, baseline).apply("ks")[2][0] < 0.01


finite = st.floats(-1e9, 1e9)


@given(st.lists(finite, min_size=30, max_size=80), st.lists(finite, max_size=30), st.booleans())
@settings(max_examples=15, deadline=None)
def test_finer_counts_add_up_to_the_coarse_ones(many: list[float], few: list[float], weighted: bool) -> None:
    overrides = {"segments": ["country"]} | ({"sampling_weight": "w"} if weighted else {})
    days = [np.random.default_rng(0).normal(size=300), np.array(many), np.array(few), np.array([*many, *few])]
    coarse, fine = (Log(days, **overrides).profile(refine=refine) for refine in (False, True))
    for segment in (None, "country=US", "country=DE"):
        before, after = coarse.histogram(segment), fine.histogram(segment)
        assert np.allclose(after.rows, before.rows, rtol=1e-12)
        for place, (lower, upper) in enumerate(zip(before.support, before.upper, strict=True)):
            inside = (after.support >= lower) & ((after.support < upper) | (after.support == lower))
            assert np.allclose(after.counts[:, inside].sum(axis=1), before.counts[:, place], rtol=1e-12)
            assert np.all(after.upper[inside] <= upper)
    # And the days add up: the last is the sum of the two before it, but for the weights, which are drawn by day.
    if not weighted:
        total = fine.histogram().counts
        assert np.array_equal(total[1] + (total[2] if few else 0), total[-1])


def test_days_profiled_in_one_run_or_one_by_one_end_with_the_same_tables() -> None:
    generator = np.random.default_rng(5)
    days = [*moved(generator, 800), generator.normal(1e6, 1e-4, 800), generator.normal(-40, 1, 800)]
    together, single = Log(days, segments=["country"]).profile(), Log(days, segments=["country"])
    for place in range(len(days)):
        single.profile(place)
    assert together.stored() == single.stored()
    assert len(together.finer_grids()) >= 3


def test_profiling_again_changes_nothing() -> None:
    log = Log(moved(np.random.default_rng(6), 800)).profile()
    stored = log.stored()
    assert log.profile().stored() == stored
    assert log.profile(3).stored() == stored


def test_a_day_with_a_few_rows_in_the_bin_is_counted_again_when_a_later_day_divides_it() -> None:
    generator = np.random.default_rng(7)
    days = [
        generator.normal(size=ROWS),
        np.append(generator.normal(size=ROWS), [50.0, 60.0, 60.0]),
        generator.normal(55, 3, ROWS),
    ]
    log = Log(days)
    log.profile(0, 1)
    assert not log.finer_grids()
    assert log.day(1).maximum[0] == 60
    log.profile(2)
    assert log.finer_grids()
    assert log.compared(1, 2).apply("ks")[2][0] <= 1.5 / np.sqrt(ROWS)
    support, counts = log.day(1).support, log.day(1).counts[0]
    assert [sum(counts[(support > low) & (support <= high)]) for low, high in ((49, 50), (59, 60))] == [1, 2]


@pytest.mark.parametrize("lost", ["deleted", "replaced"])
def test_a_day_whose_rows_are_gone_keeps_its_coarse_bin_and_the_bound_says_so(lost: str) -> None:
    generator = np.random.default_rng(8)
    days = moved(generator)
    log = Log(days)
    log.profile(0, 1, 2, refine=False)
    log.connection.execute("DELETE FROM example.inference_log WHERE day = ?", [log.days[2]])
    if lost == "replaced":
        log.write(log.days[2], generator.normal(1e6, 1, 10))
    before = log.day(2).rows
    log.profile(3, 4)
    assert log.day(2).rows == before == ROWS
    assert log.compared(2, 3).apply("ks")[2][0] > 0.99
    recent = read_histograms(log.connection, "example.daily_profile", "day > ?", [log.days[2]])[(None, "x")]
    assert Comparison.of(recent.windows([log.days[3]], 1), recent.windows([log.days[4]], 1)).apply("ks")[2][0] < 0.01


def test_only_the_segment_that_moved_asks_for_a_finer_grid_and_all_are_counted_on_it() -> None:
    generator = np.random.default_rng(9)
    log = Log([generator.normal(size=ROWS)] * 3, segments=["country"])
    log.connection.execute(
        "UPDATE example.inference_log SET country = 'JP', x = x + 1000 WHERE id::INTEGER < 40 AND day > ?", [FIRST]
    )
    log.profile()
    assert log.finer_grids()
    assert Comparison.of(log.day(1, "country=JP"), log.day(2, "country=JP")).apply("ks")[2][0] <= 0.1
    assert log.day(1).counts[0][log.day(1).support > 900].sum() == 40


@pytest.mark.parametrize("rows", [20, 920, 20_000])
def test_quiet_and_slightly_shifted_days_ask_for_nothing(rows: int) -> None:
    generator = np.random.default_rng(10)
    log = Log([generator.normal(size=20_000), *(generator.normal(shift, 1, rows) for shift in (0, 0, 0.1, 0.5))]).profile()
    assert not log.finer_grids()


def test_a_counter_gets_a_dozen_grids_and_then_its_bound_tells() -> None:
    days = [np.arange(2_000) / 7 + 2_000 * place for place in range(30)]
    log = Log(days).profile()
    assert 5 < len(log.finer_grids()) < 40
    assert log.compared(1, 2).apply("ks")[2][0] < 0.02
    assert Comparison.of(log.day(29), log.day(29)).apply("ks")[2][0] > 0.5


def test_a_day_is_profiled_with_as_many_statements_however_many_finer_grids_there_are() -> None:
    counted = {}
    for spots in (2, 12):
        generator = np.random.default_rng(11)
        crowded = generator.choice(np.linspace(-1, 1, spots), ROWS) + generator.normal(0, 1e-4, ROWS)
        log = Log([generator.normal(size=ROWS), crowded], segments=["country"]).profile()
        assert len(log.finer_grids()) >= spots
        before, log.connection = log.stored(), Counting(log.connection)
        log.profile(1)
        counted[spots] = log.connection.statements
        assert log.stored() == before
    assert counted[2] == counted[12]


class Counting:
    """A connection that counts the statements it is given."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection, self.statements = connection, 0

    def __getattr__(self, name: str) -> object:
        self.statements += name in ("execute", "sql")
        return getattr(self.connection, name)
