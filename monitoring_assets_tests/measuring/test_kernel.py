"""What a profile is: counts that add up exactly, whatever the rows."""

from datetime import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring_assets.errors import ColumnUnusable
from monitoring_assets.measuring.fitting import fit_grids
from monitoring_assets.measuring.grid import CategoryGrid
from monitoring_assets.measuring.histograms import Histogram
from monitoring_assets.measuring.kernel import BUCKET_PREFIX, write_profiles
from monitoring_assets_tests.measuring.profiles import FIRST_DAY, connect, grid_of, profile, rows_of

RANDOM = np.random.default_rng(11)
NORMAL = grid_of(RANDOM.normal(size=5_000))
FEW = grid_of(np.array([0.1, 0.2, 0.5]))
COUNTS = grid_of(np.arange(20.0))
any_float = st.one_of(st.none(), st.floats(), st.sampled_from([0.1, 0.2, 0.0, 3.0]))
columns = st.lists(any_float, max_size=60)


def held(histogram: Histogram) -> dict[object, float]:
    """The bins that hold rows, of all days together."""
    counts = histogram.total().counts[0]
    return {point: count for point, count in zip(histogram.support.tolist(), counts, strict=True) if count}


@pytest.mark.slow
@pytest.mark.parametrize("grid", [NORMAL, FEW, COUNTS])
@given(first=columns.filter(len), second=columns.filter(len))
@settings(max_examples=12, deadline=None)
def test_the_profile_of_two_batches_is_the_sum_of_their_profiles(grid: object, first: list, second: list) -> None:
    typed = [pa.array(values, pa.float64(), from_pandas=False) for values in (first, second, first + second)]
    apart, together = profile(typed[:2], grid), profile(typed[2:], grid)
    assert held(apart) == held(together)
    assert apart.total().missing == together.missing
    assert apart.row_count.sum() == together.row_count.sum() == len(first + second)


@pytest.mark.slow
@given(values=columns.filter(len), seed=st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None)
def test_the_order_of_rows_does_not_matter(values: list, seed: object) -> None:
    shuffled = list(values)
    seed.shuffle(shuffled)
    one, other = (profile([pa.array(rows, pa.float64(), from_pandas=False)], NORMAL) for rows in (values, shuffled))
    assert held(one) == held(other)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "grid"), [("numeric", NORMAL), ("numeric", FEW), ("categorical", CategoryGrid(()))])
@given(st.lists(st.tuples(st.sampled_from([None, 0.1, 0.5, -2.0, 7.5]), st.integers(0, 4)), min_size=1, max_size=30))
@settings(max_examples=10, deadline=None)
def test_a_weight_counts_like_that_many_rows(kind: str, grid: object, rows: list[tuple[float | None, int]]) -> None:
    values, weights = zip(*rows, strict=True)
    repeated = [value for value, weight in rows for _ in range(weight)]
    weighted = profile([pa.array(values, pa.float64())], grid, kind, [list(weights)])
    assert weighted.row_count.tolist() == [len(rows)]
    assert weighted.rows.tolist() == [len(repeated)]
    assert weighted.squared_weight.tolist() == [sum(weight**2 for weight in weights)]
    if repeated:
        plain = profile([pa.array(repeated, pa.float64())], grid, kind)
        assert held(plain) == held(weighted)
        assert plain.missing == weighted.missing


def test_null_nan_and_infinities_are_counted_apart() -> None:
    values = pa.array([None, None, float("nan"), float("inf"), -float("inf"), 0.5, 0.1])
    for grid in (NORMAL, FEW, COUNTS):
        (row,) = rows_of({"x": values}, {"x": "numeric"}, {"x": grid})
        assert (row["row_count"], row["null_count"], row["nan_count"], row["infinite_count"]) == (7, 2, 1, 2)
        assert (row["minimum"], row["maximum"], sum(row["counts"])) == (0.1, 0.5, 2)


def test_numbers_of_every_type_booleans_and_times_are_numeric() -> None:
    table = {
        "integer": pa.array([1, 2, None], pa.int64()),
        "small": pa.array([1, 2, None], pa.uint8()),
        "decimal": pa.array([Decimal("1.00"), Decimal("2.00"), None]),
        "flag": pa.array([True, False, None]),
        "single": pa.array([1, 2, None], pa.float32()),
        "date": pa.array([datetime(1970, 1, 2), datetime(1970, 1, 3), None], pa.date32()),
        "time": pa.array([datetime(1970, 1, 2, 12), datetime(1970, 1, 3), None], pa.timestamp("us")),
        "nothing": pa.nulls(3),
    }
    connection = connect()
    connection.register("given", pa.table(table))
    kinds = dict.fromkeys(table, "numeric")
    rows = {row["feature"]: row for row in rows_of(table, kinds, fit_grids(connection, "given", kinds))}
    assert {name: row["bins"] for name, row in rows.items()} == {
        "integer": [1, 2], "small": [1, 2], "decimal": [1, 2], "flag": [0, 1], "single": [1, 2], "date": [1, 2], "time": [1.5, 2],
        "nothing": [],
    }  # fmt: skip
    assert all(row["is_exact"] and row["null_count"] == (1 if name != "nothing" else 3) for name, row in rows.items())


def test_a_huge_integer_is_a_number_like_others() -> None:
    values = pa.array([2**62, -(2**62), 0], pa.int64())
    (row,) = rows_of({"x": values}, {"x": "numeric"}, {"x": grid_of(values)})
    assert row["bins"] == [-(2.0**62), 0, 2.0**62]


def test_a_day_with_a_million_categories_stays_small_and_keeps_the_heavy_ones() -> None:
    heavy = np.concatenate([np.repeat([7, 8], 50_000), np.arange(1_000)])
    codes = RANDOM.permutation(np.concatenate([np.arange(200_000), heavy]))
    names = pa.array([f"id {code}" for code in codes])
    grid = grid_of(names, "categorical")
    (row,) = rows_of({"x": names}, {"x": "categorical"}, {"x": grid})
    counts = dict(zip(row["categories"], row["counts"], strict=True))
    assert not row["is_exact"]
    assert len(counts) == 1_000 + 256
    assert (counts["id 7"], counts["id 8"], counts["id 9"], sum(counts.values())) == (50_002, 50_002, 2, 301_000)


def test_values_that_all_come_once_are_no_heavy_categories() -> None:
    assert grid_of(pa.array([f"id {code}" for code in range(5_000)]), "categorical") == CategoryGrid(())


def test_batches_of_a_crowded_column_add_up_though_one_batch_alone_is_not_crowded() -> None:
    grid = CategoryGrid(("a", "b"))
    few, many = ["a", "b", "c"] * 5, [f"n{place}" for place in range(1_500)] + ["a", "c"]
    apart, together = profile([few, many], grid, "categorical"), profile([few + many], grid, "categorical")
    assert held(apart) == held(together)
    assert apart.total().counts.sum() == together.counts.sum() == 1_517


def test_a_bucket_of_the_kernel_is_the_bucket_of_a_histogram() -> None:
    crowded = profile([[f"n{place}" for place in range(1_001)]], CategoryGrid(()), "categorical")
    named = profile([["n5"]], CategoryGrid(()), "categorical").bucketed(set())
    assert named.support[0].startswith(BUCKET_PREFIX)
    assert named.support[0] in crowded.support


def test_segments_are_profiled_apart() -> None:
    table = {"x": [1.0, 2.0, 3.0, 4.0], "s": ["a", "b", None, "a"]}
    grids = {"x": grid_of([1.0, 2.0, 3.0, 4.0]), "s": CategoryGrid(())}
    rows = rows_of(table, {"x": "numeric", "s": "categorical"}, grids, segments=["s"])
    found = {(row["segment"], row["feature"]): row for row in rows}
    assert found[("s=a", "x")]["bins"] == [1, 4]
    assert found[("s=b", "x")]["bins"] == [2]
    assert found[(None, "x")]["row_count"] == 4
    assert found[("s=a", "s")]["categories"] == ["a"]


def test_files_are_read_without_a_table(tmp_path: object) -> None:
    path = tmp_path / "a 'day'.parquet"
    pq.write_table(pa.table({"x": [1.0, 2.0, 2.0]}), path)
    connection, source = connect(), "read_parquet('" + str(path).replace("'", "''") + "')"
    rows = f"(SELECT DATE '{FIRST_DAY}' AS day, * FROM {source})"
    write_profiles(connection, "profiles", rows, {"x": "numeric"}, fit_grids(connection, rows, {"x": "numeric"}))
    assert connection.execute("SELECT bins, counts FROM profiles").fetchall() == [([1.0, 2.0], [1.0, 2.0])]


def test_no_rows_have_no_profile() -> None:
    empty = {"x": pa.array([], pa.float64()), "c": pa.array([], pa.string())}
    kinds = {"x": "numeric", "c": "categorical"}
    connection = connect()
    connection.register("given", pa.table(empty))
    grids = fit_grids(connection, "given", kinds)
    assert rows_of(empty, kinds, grids, segments=["c"]) == []
    assert rows_of({"x": [1.5], "c": ["a"]}, kinds, grids)[1]["counts"] == [1]


def test_unusable_columns_are_named() -> None:
    with pytest.raises(ColumnUnusable, match="no column 'y'"):
        rows_of({"x": [1.0]}, {"y": "numeric"}, {"y": NORMAL})
    with pytest.raises(ColumnUnusable, match="'x' is of type VARCHAR"):
        rows_of({"x": ["1.0"]}, {"x": "numeric"}, {"x": NORMAL})
    for bad in (-1.0, None, float("nan")):
        with pytest.raises(ColumnUnusable, match="'w' holds 1 weights"):
            rows_of({"x": [1.0, 2.0], "w": [1.0, bad]}, {"x": "numeric"}, {"x": NORMAL}, weight="w")


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=12)


@pytest.mark.slow
@given(
    name=names.filter(lambda name: name.casefold() not in {"day", "w"}),
    values=st.lists(st.one_of(st.none(), st.floats(), st.integers(-(2**62), 2**62).map(float)), min_size=1, max_size=20),
)
@settings(max_examples=25, deadline=None)
def test_any_name_and_any_numbers_are_profiled_without_loss(name: str, values: list) -> None:
    column = pa.array(values, pa.float64(), from_pandas=False)
    connection = connect()
    connection.register("given", pa.table({name: column}))
    for kind in ("numeric", "categorical"):
        grids = fit_grids(connection, "given", {name: kind})
        (row,) = rows_of({name: column}, {name: kind}, grids)
        assert row["feature"] == name
        missing = row["null_count"] + row["nan_count"] + row["infinite_count"]
        assert sum(row["counts"]) + missing == row["row_count"] == len(values)
