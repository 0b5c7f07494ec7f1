"""Comparing two tables: closed forms, scipy's numbers, quiet at any size, and every kind of bad input named."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitoring_assets.comparison.compare import drift_report
from monitoring_assets.drift import compare
from monitoring_assets.errors import ColumnUnusable, PermanentError
from monitoring_assets.monitor_spec import ALL_CATEGORICAL_METHODS, ALL_NUMERIC_METHODS, SEVERITIES

RANDOM = np.random.default_rng(3)
METHODS = sorted({*ALL_NUMERIC_METHODS, *ALL_CATEGORICAL_METHODS})


def frame(rows: int = 200, shift: float = 0.0, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({"x": random.normal(shift, 1, rows), "c": random.choice(list("abc"), rows)})


def scores(reference: object, current: object, **kwargs: object) -> pd.Series:
    return compare(reference, current, **kwargs).set_index(["feature", "method"])["score"]


@pytest.mark.parametrize(("shift", "psi"), [(0.25, 0.059816), (0.5, 0.237749), (1.0, 0.926142)])
def test_two_normals_of_a_million_rows_have_their_closed_forms(shift: float, psi: float) -> None:
    sides = [pa.table({"x": np.random.default_rng(seed).normal(mean, 1, 1_000_000)}) for seed, mean in ((0, 0.0), (1, shift))]
    found = scores(*sides, methods=["psi", "ks", "hellinger", "wasserstein", "tv"])["x"]
    overlap = 2 * stats.norm.cdf(shift / 2) - 1
    expected = {"psi": psi, "ks": overlap, "tv": overlap, "hellinger": np.sqrt(1 - np.exp(-(shift**2) / 8)), "wasserstein": shift}
    for method, value in expected.items():
        assert found[method] == pytest.approx(value, rel=0.01, abs=0.002), method


def test_scores_are_scipys() -> None:
    reference, current = RANDOM.normal(size=500), RANDOM.normal(0.2, 1.2, 400)
    words = RANDOM.choice(list("abcd"), 500), RANDOM.choice(list("abcd"), 400, p=[0.4, 0.3, 0.2, 0.1])
    table = compare(pd.DataFrame({"x": reference, "c": words[0]}), pd.DataFrame({"x": current, "c": words[1]}), methods=METHODS)
    found = table.set_index(["feature", "method"])
    assert found.loc[("x", "ks"), "score"] == pytest.approx(stats.ks_2samp(reference, current).statistic)
    assert found.loc[("x", "wasserstein"), "score"] == pytest.approx(
        stats.wasserstein_distance(reference, current) / reference.std()
    )
    expected = stats.chi2_contingency([[np.sum(side == word) for word in "abcd"] for side in words], correction=False)
    assert found.loc[("c", "chi2"), "score"] == pytest.approx(expected.statistic)
    assert found.loc[("c", "chi2"), "p_value"] == pytest.approx(expected.pvalue)
    assert found.loc[("c", "ks"), "reason"] == "ks does not compare categorical columns"


def population(seed: int, rows: int) -> pd.DataFrame:
    """What is hard to keep quiet: heavy tails, spikes, rare values, ids, thousands of categories, missing values."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "normal": random.normal(size=rows), "log-normal": random.lognormal(0, 2, rows), 
            "cauchy": random.standard_cauchy(rows),
            "rare": np.where(random.random(rows) < 0.01, 5.0, 0.0), "missing": np.where(random.random(rows) < 0.3, np.nan, 1.0),
            "id": [f"id {place}" for place in range(rows)],
            "zipf": random.zipf(1.5, rows).clip(0, 5_000).astype(str),
            "many": random.integers(0, 3_000, rows).astype(str),
        }
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("reference", "current", "seeds"), [(100, 100, 20), (1_000, 100, 8), (1_000, 1_000, 5)])
def test_shuffled_rows_are_quiet(reference: int, current: int, seeds: int) -> None:
    # At a rate of 1 % the chance of more alarms than this is below 1 in 1,000.
    alarms = 0
    for seed in range(seeds):
        rows = population(seed, reference + current)
        alarms += bool(compare(rows[:reference], rows[reference:])["drifted"].any())
    assert alarms <= stats.binom.isf(0.001, seeds, 0.01)


@pytest.mark.slow
def test_a_hundred_thousand_shuffled_rows_are_quiet() -> None:
    for seed in range(3):
        rows = pa.Table.from_pandas(population(seed, 200_000))
        assert not compare(rows[:100_000], rows[100_000:])["drifted"].any()


@pytest.mark.slow
def test_thousands_of_rare_categories_are_quiet_in_tables_of_unequal_size() -> None:
    """At the rate of one column of fifty. When every category of the smaller table had a bin of its own, but only a fifth of
    the larger's, one of these 8 pairs alarmed, and half of those with fifty columns."""
    alarming = []
    for seed in range(8):
        random = np.random.default_rng(seed)
        before, now = (pd.DataFrame({"c": random.zipf(1.5, rows).clip(0, 3_000).astype(str)}) for rows in (100_000, 10_000))
        found = compare(before, now, false_alarm_rate=0.002)
        alarming += [seed] if found["drifted"].any() else []
    assert not alarming


@pytest.mark.slow
def test_the_stated_rate_holds_where_it_can_be_counted() -> None:
    """A tenth of comparisons may alarm; far fewer do, for scores of one column alarm together."""
    rates = [
        compare(frame(300, seed=2 * s), frame(300, seed=2 * s + 1), false_alarm_rate=0.1)["drifted"].any() for s in range(40)
    ]
    assert 0 < np.mean(rates) <= 0.1 + 3 * np.sqrt(0.09 / 40)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "shift"), [(100, 1.0), (1_000, 0.3), (100_000, 0.15)])
def test_a_shift_that_matters_is_found(rows: int, shift: float) -> None:
    found = [compare(frame(rows, seed=s), frame(rows, shift, seed=s + 99)) for s in range(5)]
    assert np.mean([table.loc[table["feature"] == "x", "drifted"].any() for table in found]) >= 0.9
    assert not any(table.loc[table["feature"] == "c", "drifted"].any() for table in found)
    assert found[0]["feature"][0] == "x"
    assert found[0]["change"][0] == "shift"


@pytest.mark.slow
def test_a_few_values_far_out_do_not_alarm() -> None:
    """Where a few values hold most of the variance, which side they fall on moves the Wasserstein distance by chance."""
    alarms = 0
    for seed in range(100):
        both = pd.DataFrame({"x": np.random.default_rng(seed).standard_cauchy(2_000)})
        table = compare(both[:1_000], both[1_000:], methods=["wasserstein"], false_alarm_rate=0.02)
        alarms += int(table["drifted"].any())
    assert alarms <= stats.binom.ppf(0.999, 100, 0.02)


def test_values_far_out_on_one_side_alarm() -> None:
    random = np.random.default_rng(0)
    one, other = random.standard_cauchy(1_000), random.standard_cauchy(1_000)
    other[:20] = 1e6
    table = compare(pd.DataFrame({"x": one}), pd.DataFrame({"x": other}), methods=["wasserstein"])
    assert table["severity"][0] == "severe"


def test_a_table_and_itself_are_quiet_with_zero_scores() -> None:
    table = compare(frame(), frame(), methods=METHODS)
    assert (table["score"].dropna() == 0).all()
    assert not table["drifted"].any()
    assert list(table.columns[:7]) == ["feature", "method", "score", "p_value", "threshold", "drifted", "reason"]
    assert (table["score"].isna() == table["reason"].notna()).all()


@pytest.mark.slow
def test_every_kind_of_table_gives_the_same_scores(tmp_path: Path) -> None:
    one, other = frame(2_000), frame(2_000, 0.3, seed=1)
    for name, side in (("one", one), ("other", other)):
        side.to_parquet(tmp_path / f"{name}.parquet")
        side.to_csv(tmp_path / f"{name} [1].csv.gz", index=False, sep=";")
        for place in range(2):
            side[place::2].to_parquet(tmp_path / f"{name}-{place}.parquet")
    expected = scores(one, other)
    arrow = pa.Table.from_pandas(one), pa.Table.from_pandas(other)
    pairs = [
        arrow,
        (arrow[0].to_reader(), arrow[1].to_reader()),
        (tmp_path / "one.parquet", str(tmp_path / "other.parquet")),
        (f"{tmp_path}/one-*.parquet", [tmp_path / "other-0.parquet", tmp_path / "other-1.parquet"]),
        (tmp_path / "one [1].csv.gz", tmp_path / "other [1].csv.gz"),
        (tmp_path / "one.parquet", tmp_path / "other [1].csv.gz"),
    ]
    for pair in pairs:
        pd.testing.assert_series_equal(scores(*pair)[expected.index], expected, rtol=1e-9)


def test_the_worst_comes_first_by_severity_and_then_by_how_far_beyond_its_threshold() -> None:
    """Of severe categories and of numbers that moved moderately, these are further beyond their threshold."""
    random = np.random.default_rng(1)
    reference, current = (
        pd.DataFrame({"age": random.normal(mean, 12, 4_000), "country": random.choice(list("ABCD"), 4_000, p=shares)})
        for mean, shares in ((40, [0.4, 0.3, 0.2, 0.1]), (46, [0.2, 0.3, 0.3, 0.2]))
    )
    table = compare(reference, current)
    worst = table.drop_duplicates("feature").set_index("feature")
    assert list(worst["severity"]) == ["severe", "moderate"]
    assert worst["excess"]["age"] > worst["excess"]["country"]
    ranks = table["severity"].map(SEVERITIES.index)
    assert all(ranks.iloc[place] >= ranks.iloc[place + 1] for place in range(len(ranks) - 1))


def test_row_order_changes_nothing() -> None:
    one, other = frame(500), frame(500, 0.2, seed=1)
    pd.testing.assert_frame_equal(compare(one, other), compare(one.sample(frac=1, random_state=1), other[::-1]))


def test_weights_count_as_rows() -> None:
    one = frame(300).assign(w=np.tile([1, 2, 3], 100))
    repeated = one.loc[one.index.repeat(one["w"])]
    methods = ["psi", "ks", "wasserstein", "js", "missingness"]
    weighted = scores(one, frame(300, 1, 5).assign(w=1), weight="w", methods=methods)
    plain = scores(repeated.drop(columns="w"), frame(300, 1, 5), methods=methods)
    pd.testing.assert_series_equal(weighted.sort_index(), plain.sort_index())


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf, None, "heavy"])
def test_a_weight_that_is_none_is_reported(wrong: object) -> None:
    with pytest.raises(ColumnUnusable, match=r"column 'w' of the current holds 1 weights"):
        compare(frame().assign(w=1), frame().assign(w=pd.Series([wrong] + [1.0] * 199, dtype=object).map(str)), weight="w")


CELLS = st.one_of(
    st.none(), st.floats(), st.integers(-(2**80), 2**80), st.text(max_size=5), st.booleans(), st.dates(),
    st.decimals(places=2, allow_nan=False), st.binary(max_size=3), st.lists(st.integers(), max_size=2),
)  # fmt: skip
UNIFORM = st.sampled_from([
    st.floats(), st.floats(-5, 5), st.integers(-3, 3), st.integers(-(2**62), 2**62), st.text(max_size=3), st.booleans(),
    st.datetimes(),
    st.one_of(st.none(), st.floats(-1, 1)), st.one_of(st.none(), st.sampled_from("ab")),
])  # fmt: skip


@pytest.mark.slow
@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_two_frames_are_compared_right_or_refused(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.text(max_size=4), min_size=1, max_size=3, unique=True))
    kinds = {name: CELLS if data.draw(st.integers(0, 5)) == 0 else data.draw(UNIFORM) for name in names}
    sides = []
    for _ in range(2):
        rows = data.draw(st.sampled_from([0, 1, 35, 60]))
        sides.append(
            pd.DataFrame({name: pd.Series(data.draw(st.lists(kinds[name], min_size=rows, max_size=rows))) for name in names})
        )
    try:
        table = compare(*sides, methods=METHODS)
    except PermanentError:
        return
    assert (table["score"].isna() == table["reason"].notna()).all()
    assert not (table["drifted"] & table["score"].isna()).any()
    for row in table[table["method"] == "ks"].dropna(subset=["score"]).itertuples():
        values = [side[row.feature].dropna() for side in sides]
        if all(side.dtype.kind in "fiub" for side in values):
            finite = [side[np.isfinite(side.astype(float))].astype(float) for side in values]
            assert abs(row.score - stats.ks_2samp(*finite, method="asymp").statistic) <= row.score_error_bound + 1e-9


@pytest.mark.slow
def test_hundreds_of_columns_take_seconds_of_the_processor_not_a_minute() -> None:
    """It took 40 to 90 s; 2 s on a quiet machine now, drifted or not."""
    random = np.random.default_rng(0)
    sides = []
    for shift in (0.0, 0.3):
        columns: dict[str, object] = {f"n{place}": random.normal(shift, 1, 1_000).round(place % 4) for place in range(70)}
        columns |= {f"c{place}": random.choice(list("abcdef"), 1_000) for place in range(30)}
        sides.append(pd.DataFrame(columns))
    compare(sides[0].iloc[:, :2], sides[1].iloc[:, :2])
    started = time.process_time()
    assert len(drift_report(*sides).drifted) == 70
    assert time.process_time() - started < 6


@pytest.mark.slow
def test_loading_the_package_does_not_load_what_only_comparing_needs() -> None:
    code = "import sys, monitoring_assets.drift.scores; assert 'monitoring_assets.comparison.compare' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def related(rows: int, correlation: float, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    x, noise = random.normal(size=rows), random.normal(size=rows)
    y = correlation * x + np.sqrt(1 - correlation**2) * noise
    return pd.DataFrame({"x<b>": x, "y": y, "c": random.choice(list("abc"), rows), "at": pd.Timestamp("2026-01-01"), "w": 2.0})


@pytest.mark.parametrize("weight", [None, "w"])
def test_features_that_go_together_another_way_are_found_by_all_features_together_only(weight: str | None) -> None:
    sides = related(2_000, 0.7, 1), related(1_500, -0.7, 2)
    found = compare(*sides, methods=["ks", "correlation", "pca_reconstruction"], weight=weight)
    assert set(found.loc[found["drifted"], "feature"]) == {"(all features)"}
    change = found.set_index("method")["change"]
    assert change["correlation"].startswith("relation: x<b> and y +0.")
    assert not compare(*sides, methods=["ks"])["drifted"].any()


@pytest.mark.slow
def test_all_features_together_are_quiet_on_one_population() -> None:
    alarms = [
        compare(related(900, 0.7, s), related(500, 0.7, s + 50), methods=["correlation"])["drifted"].any() for s in range(8)
    ]
    assert not any(alarms)


def test_too_few_rows_for_all_features_together_are_reported() -> None:
    found = compare(related(5, 0.7, 1), related(900, 0.7, 2), methods=["correlation"])
    assert found["reason"].tolist() == ["the reference has 5 rows, 30 needed"]


@pytest.mark.slow
def test_the_first_comparison_does_not_wait_for_libraries_it_can_do_without() -> None:
    code = (
        "import sys, pandas as pd; from monitoring_assets.drift import compare; "
        "compare(*[pd.DataFrame({'x': [1.5, 2.5] * 50, 'c': ['a', 'b'] * 50})] * 2); "
        "assert not {'scipy.stats', 'sklearn', 'dagster', 'mlflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
