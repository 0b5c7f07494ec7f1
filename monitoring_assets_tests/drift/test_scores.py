"""Scores of profiles against closed forms and against scipy on the raw rows, and the laws every distance obeys."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitoring_assets.drift.scores import Comparison, resolution
from monitoring_assets.drift.windows import score_days
from monitoring_assets.measuring.grid import CategoryGrid
from monitoring_assets.measuring.histograms import Histogram
from monitoring_assets.monitor_spec import ALL_CATEGORICAL_METHODS, ALL_NUMERIC_METHODS, MonitorSpec
from monitoring_assets_tests.measuring.profiles import FIRST_DAY, grid_of, profile

RANDOM = np.random.default_rng(5)
SYMMETRIC = ("ks", "js", "hellinger", "tv", "linf", "cramer_von_mises", "chi2", "missingness")
ATOMS = np.array([0.1, 0.25, 1 / 3, np.pi])


def compared(reference: np.ndarray, *days: np.ndarray) -> Comparison:
    grid = grid_of(reference)
    return Comparison.of(profile([reference], grid), profile(days, grid))


def draw(name: str, rows: int, shift: float) -> np.ndarray:
    match name:
        case "normal":
            return RANDOM.normal(shift, 1, rows)
        case "log-normal":
            return RANDOM.lognormal(shift, 2, rows)
        case "zero-inflated":
            return np.where(RANDOM.random(rows) < 0.4 + shift, 0.0, RANDOM.lognormal(shift, 1, rows))
        case "cauchy":
            return RANDOM.standard_cauchy(rows) + shift
        case "integers":
            return RANDOM.poisson(1_000 + 100 * shift, rows).astype(float)
        case "wide integers":
            return np.floor(RANDOM.lognormal(8 + shift, 2, rows))
        case "atoms":
            return np.where(RANDOM.random(rows) < 0.5 - shift, RANDOM.choice(ATOMS, rows), RANDOM.normal(1, 1, rows))
    raise ValueError(name)


@pytest.mark.long
@pytest.mark.parametrize("name", ["normal", "log-normal", "zero-inflated", "cauchy", "integers", "wide integers", "atoms"])
def test_ks_and_wasserstein_of_a_million_rows_are_scipys_within_the_bound(name: str) -> None:
    reference, current = draw(name, 1_000_000, 0.0), draw(name, 1_000_000, 0.05)
    pair = compared(reference, current)
    scores, _, bounds = pair.apply("ks")
    assert bounds[0] <= 0.002
    assert abs(scores[0] - stats.ks_2samp(reference, current, method="asymp").statistic) <= bounds[0] + 1e-12
    scores, _, bounds = pair.apply("wasserstein")
    expected = stats.wasserstein_distance(reference, current) / reference.std()
    assert abs(scores[0] - expected) <= bounds[0] + 1e-9 * expected


@pytest.mark.slow
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60),
    st.lists(st.one_of(st.floats(-1e6, 1e6), st.floats(-2, 2)), min_size=1, max_size=60),
)
@settings(max_examples=25, deadline=None)
def test_bounds_hold_for_any_rows_on_any_grid(reference: list[float], current: list[float]) -> None:
    reference, current = np.array(reference), np.array(current)
    grid = grid_of(RANDOM.normal(size=3_000))
    pair = Comparison.of(profile([reference], grid), profile([current], grid))
    score, _, bound = pair.apply("ks")
    assert abs(score[0] - stats.ks_2samp(reference, current, method="asymp").statistic) <= bound[0] + 1e-9
    score, _, bound = pair.apply("wasserstein")
    if np.isfinite(score[0]) and reference.std() > 0:
        expected = stats.wasserstein_distance(reference, current) / reference.std()
        assert abs(score[0] - expected) <= bound[0] + 1e-6 * (1 + expected)
    score, _, bound = pair.apply("cramer_von_mises")
    points = np.concatenate([reference, current])
    gaps = [(side[:, None] <= points).mean(axis=0) for side in (current, reference)]
    weights = np.repeat([1 / len(reference), 1 / len(current)], [len(reference), len(current)]) / 2
    assert abs(score[0] - weights @ (gaps[0] - gaps[1]) ** 2) <= bound[0] + 1e-9


NORMAL = RANDOM.normal(size=1_000_000)
NORMAL_GRID = grid_of(NORMAL[:20_000])


@pytest.mark.slow
@pytest.mark.parametrize(("shift", "psi"), [(0.25, 0.059816), (0.5, 0.237749), (1.0, 0.926142)])
def test_two_normals_have_their_closed_forms(shift: float, psi: float) -> None:
    pair = compared(NORMAL, np.random.default_rng(1).normal(shift, 1, 1_000_000))
    overlap = 2 * stats.norm.cdf(shift / 2) - 1
    expected = {
        "ks": overlap, "tv": overlap, "hellinger": np.sqrt(1 - np.exp(-(shift**2) / 8)), "wasserstein": shift, "psi": psi,
    }  # fmt: skip
    for method, value in expected.items():
        assert pair.apply(method)[0][0] == pytest.approx(value, rel=0.01, abs=0.002), method


def test_hellinger_and_js_of_a_hundred_rows_are_noise_of_a_sane_size() -> None:
    pair = compared(NORMAL, *(RANDOM.normal(size=100) for _ in range(200)))
    for method, ceiling in (("hellinger", 0.15), ("js", 0.17), ("tv", 0.15)):
        assert np.median(pair.apply(method)[0]) < ceiling


def test_more_rows_allow_more_groups() -> None:
    assert np.all(np.diff(resolution(1e9, 10.0 ** np.arange(9))) >= 0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ALL_NUMERIC_METHODS)
def test_every_score_is_zero_between_equal_days(method: str) -> None:
    for values in (RANDOM.normal(size=3_000), np.array([0.1, 0.1, 0.7, np.nan]), np.full(5, 3.0)):
        assert compared(values, values).apply(method)[0][0] == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("method", SYMMETRIC)
def test_symmetric_scores_do_not_care_which_side_is_which(method: str) -> None:
    one, other = RANDOM.choice([0.0, 1, 2, np.nan], 500), RANDOM.choice([0.0, 1, 2, 3, np.nan], 500, p=[0.4, 0.1, 0.2, 0.2, 0.1])
    kind, grid = (
        ("categorical", CategoryGrid(())) if method in {"js", "hellinger", "tv", "linf", "chi2"} else ("numeric", grid_of(one))
    )
    if kind == "categorical":
        other = other[other != 3]
    sides = [profile([side], grid, kind) for side in (one, other)]
    assert Comparison.of(*sides).apply(method)[0] == pytest.approx(Comparison.of(*sides[::-1]).apply(method)[0])


@pytest.mark.slow
@pytest.mark.parametrize("method", [method for method in ALL_NUMERIC_METHODS if method != "missingness"])
def test_every_score_grows_with_a_growing_shift(method: str) -> None:
    days = [NORMAL[:50_000] + shift for shift in (0.0, 0.1, 0.3, 0.6, 1.0, 1.5)]
    assert np.all(np.diff(compared(NORMAL[:50_000], *days).apply(method)[0]) > 0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ALL_NUMERIC_METHODS)
def test_a_day_of_missing_values_only_is_undefined_or_missing(method: str) -> None:
    scores, _, _ = compared(RANDOM.normal(size=500), np.full(9, np.nan)).apply(method)
    in_range = {"missingness": 1.0, "tv": 1.0, "js": 1.0, "hellinger": 1.0, "linf": 1.0}
    if method in in_range:
        assert scores[0] == pytest.approx(in_range[method])
    elif method in {"ks", "wasserstein", "cramer_von_mises"}:
        assert np.isnan(scores[0])
    else:
        assert scores[0] > 1


def test_rows_of_unknown_categories_are_the_new_share() -> None:
    grid = CategoryGrid(())
    pair = Comparison.of(
        profile([["a", "a", "b", None]], grid, "categorical"), profile([["a", "c", "d", None]], grid, "categorical")
    )
    scores, _, bounds = pair.apply("new_category")
    assert (scores[0], bounds[0]) == (0.5, 0.0)


def test_a_new_category_among_a_million_may_hide_in_a_bucket_and_the_bound_says_so() -> None:
    names = [f"n{place}" for place in range(5_000)]
    grid = CategoryGrid(tuple(names[:900]))
    sides = [profile([values], grid, "categorical") for values in (names, [*names[:100], *["new"] * 100])]
    scores, _, bounds = Comparison.of(*sides).apply("new_category")
    assert scores[0] <= 0.5 <= scores[0] + bounds[0]


def test_bins_of_different_grids_are_compared_on_what_they_share() -> None:
    reference, current = RANDOM.normal(size=20_000), RANDOM.normal(0.2, 1, 20_000)
    sides = profile([reference], grid_of(reference)), profile([current], grid_of(current * 3))
    score, _, bound = Comparison.of(*sides).apply("ks")
    assert abs(score[0] - stats.ks_2samp(reference, current, method="asymp").statistic) <= bound[0] + 1e-12


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from([None, 0.1, 0.5, -2.0, 7.5]), st.integers(0, 4)), min_size=1, max_size=30))
@settings(max_examples=15, deadline=None)
def test_a_weight_scores_like_that_many_rows(rows: list[tuple[float | None, int]]) -> None:
    reference, (values, weights) = RANDOM.normal(size=200), zip(*rows, strict=True)
    grid = grid_of(reference)
    repeated = np.array([np.nan if value is None else value for value, weight in rows for _ in range(weight)])
    if len(repeated) == 0:
        return
    weighted = profile([pa.array(values, pa.float64())], grid, weights=[list(weights)])
    sides = [Comparison.of(profile([reference], grid), day) for day in (weighted, profile([repeated], grid))]
    for method in ALL_NUMERIC_METHODS:
        if method not in {"chi2", "psi", "kl"}:  # which depend on how many rows were really seen; see the next law
            scores = [pair.apply(method)[0][0] for pair in sides]
            assert scores[0] == pytest.approx(scores[1], rel=1e-9, abs=1e-12, nan_ok=True), method


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_a_weight_that_all_rows_share_changes_no_score(kind: str) -> None:
    values = np.floor(RANDOM.lognormal(2, 1, 300))
    grid = grid_of(NORMAL[:500] * 20) if kind == "numeric" else CategoryGrid(())
    reference, days = np.floor(RANDOM.lognormal(2.1, 1, 2_000)), [np.append(values, np.nan)]
    weights = [np.full(len(days[0]), 10.0)]
    sides = [Comparison.of(profile([reference], grid, kind), profile(days, grid, kind, weights=w)) for w in (None, weights)]
    for method in ALL_NUMERIC_METHODS if kind == "numeric" else ALL_CATEGORICAL_METHODS:
        scores, p_values, bounds = zip(*(pair.apply(method) for pair in sides), strict=True)
        for found in (scores, p_values, bounds):
            assert found[0] == pytest.approx(found[1], rel=1e-9, abs=1e-12, nan_ok=True), method


def sampled(values: np.ndarray, always: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One row in ten with weight 10, and besides all rows that are always logged, with weight 1."""
    kept = always | (generator.random(len(values)) < 0.1)
    return values[kept], np.where(always[kept], 1.0, 10.0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["psi", "ks", "js", "wasserstein"])
def test_a_weighted_sample_scores_like_the_full_log_and_an_unweighted_one_does_not(method: str) -> None:
    full = NORMAL[:200_000]
    values, weights = sampled(full, full > 1, np.random.default_rng(3))  # a fifth of the sample would be a half
    grid = grid_of(full)
    reference = profile([full], grid)
    weighted, unweighted = profile([values], grid, weights=[weights]), profile([values], grid)
    quiet = [np.random.default_rng(seed).normal(size=int(weighted.effective_rows[0])) for seed in range(20)]
    noise = Comparison.of(reference, profile(quiet, grid)).apply(method)[0].max()
    scores = [Comparison.of(reference, day).apply(method)[0][0] for day in (weighted, unweighted)]
    assert scores[0] <= noise
    assert scores[1] > 5 * noise


def test_chi2_of_quiet_weighted_days_has_uniform_p_values() -> None:
    generator, full = np.random.default_rng(4), NORMAL[:100_000]
    grid = grid_of(full)
    weights = [generator.choice([1.0, 10.0], 2_000) for _ in range(200)]
    days = profile([generator.normal(size=2_000) for _ in weights], grid, weights=weights)
    taken_for_rows = replace(days, squared_weight=days.rows)
    p_values, wrong = (Comparison.of(profile([full], grid), side).apply("chi2")[1] for side in (days, taken_for_rows))
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(wrong < 0.05) > 0.5


def test_too_few_effective_rows_are_reported_as_such() -> None:
    heavy = [np.append(np.ones(39), 1_000.0)]
    current = {(None, "x"): profile([RANDOM.normal(size=40)], NORMAL_GRID, weights=heavy)}
    reference = {(None, "x"): profile([NORMAL[:1_000]], NORMAL_GRID)}
    scores = score_days(spec(windows_days=[1]), "b1", reference, current, [FIRST_DAY])
    assert set(scores["current_rows"]) == {40}
    assert set(scores["reason"]) == {"1 effective rows, 30 needed"}


def test_a_window_is_the_sum_of_its_days() -> None:
    days = [RANDOM.normal(size=rows) for rows in (50, 0, 70, 90)]
    histogram = profile([day for day in days if len(day)], grid_of(days[0]))
    windows = histogram.windows([FIRST_DAY + timedelta(days=place) for place in range(-2, 9)], 2)
    assert windows.rows.tolist() == [0, 0, 50, 120, 160, 90, 0, 0, 0, 0, 0]
    assert windows.minimum[3] == min(days[0].min(), days[2].min())
    assert np.isnan(windows.minimum[0])


def spec(**drift: object) -> MonitorSpec:
    return MonitorSpec.model_validate(
        {
            "name": "m", "id": "i", "event_time": "at", "start_day": "2026-01-01", "prediction": {"value": "p"},
            "features": {"x": {"kind": "numeric"}, "c": {"kind": "categorical"}}, "log": {"path": "/l.parquet"},
            "reference": {"first_day": "2026-01-01", "last_day": "2026-01-02"}, "drift": drift,
        }
    )  # fmt: skip


def test_every_method_of_every_window_is_a_row_with_a_score_or_a_reason() -> None:
    x, c = [RANDOM.normal(size=40), RANDOM.normal(size=40), RANDOM.normal(size=3)], [["a"] * 30 + ["b"] * 10] * 2 + [["b"]]
    current = {(None, "x"): profile(x, grid_of(x[0])), (None, "c"): profile(c, CategoryGrid(()), "categorical")}
    reference = {key: first_days(histogram, 2) for key, histogram in current.items()}
    days = [FIRST_DAY + timedelta(days=place) for place in range(3)]
    methods = {"numeric_methods": ALL_NUMERIC_METHODS, "categorical_methods": ALL_CATEGORICAL_METHODS, "windows_days": [1, 2]}
    scores = score_days(spec(**methods), "b1", reference, current, days)
    assert len(scores) == 3 * 2 * (len(ALL_NUMERIC_METHODS) + len(ALL_CATEGORICAL_METHODS))
    assert (scores["severity"].isna() == scores["reason"].notna()).all()
    assert scores.loc[scores["score"].isna(), "severity"].isna().all()
    lonely = scores[(scores["day"] == days[2]) & (scores["window_days"] == 1)]
    assert set(lonely["reason"]) == {"3 rows, 30 needed", "1 rows, 30 needed"}
    assert score_days(spec(), "b1", {}, current, days)["reason"].unique().tolist() == [
        "not judged: the reference has no values of it"
    ]


def first_days(histogram: Histogram, count: int) -> Histogram:
    return histogram.windows([date.fromordinal(FIRST_DAY.toordinal() + count - 1)], count)
