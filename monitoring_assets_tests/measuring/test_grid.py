"""A grid's bins cover the line, and DuckDB and numpy put every value into the same one."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitoring_assets.measuring.grid import FIRST_KEY, INFINITE_KEY, NAN_KEY, NULL_KEY, NumericGrid

RANDOM = np.random.default_rng(7)
REFERENCES = {
    "normal": RANDOM.normal(size=20_000),
    "heavy tails": RANDOM.standard_cauchy(20_000),
    "log-normal": RANDOM.lognormal(0, 2, 20_000),
    "zero-inflated": np.where(RANDOM.random(20_000) < 0.4, 0.0, RANDOM.lognormal(0, 1, 20_000)),
    "integers": RANDOM.integers(0, 5_000, 20_000).astype(float),
    "atoms": np.where(RANDOM.random(20_000) < 0.5, RANDOM.choice([0.1, 1 / 3, np.pi], 20_000), RANDOM.normal(size=20_000)),
    "far away": 1e12 + RANDOM.random(20_000),
    "with a code for unknown": np.where(RANDOM.random(20_000) < 0.01, 1e300, RANDOM.normal(size=20_000)),
    "tiny": RANDOM.normal(size=20_000) * 1e-300,
}


def fitted(values: np.ndarray) -> NumericGrid:
    return NumericGrid.fitted(*np.unique(values, return_counts=True))


GRIDS = {name: fitted(values) for name, values in REFERENCES.items()}


@pytest.mark.parametrize("name", REFERENCES)
def test_bins_ascend_and_cover_the_line(name: str) -> None:
    lower, upper = GRIDS[name].bins
    assert lower[0] == -np.inf
    assert upper[-1] == np.inf
    assert np.all(np.diff(lower) > 0)
    # A bin of one value ends where the next number begins.
    assert np.array_equal(np.where(upper > lower, upper, np.nextafter(lower, np.inf))[:-1], lower[1:])


@pytest.mark.parametrize("name", REFERENCES)
def test_no_bin_of_several_values_holds_more_than_two_thousandths_of_the_reference(name: str) -> None:
    lower, upper = GRIDS[name].bins
    held = np.bincount(GRIDS[name].bins_of_values(REFERENCES[name]), minlength=len(lower)) / len(REFERENCES[name])
    assert held[upper > lower].max(initial=0) <= 0.002


@pytest.mark.slow
@pytest.mark.parametrize("name", REFERENCES)
@given(extra=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=50))
@settings(max_examples=5, deadline=None)
def test_duckdb_and_numpy_agree_on_the_bin_of_every_value(name: str, extra: list[float]) -> None:
    grid = GRIDS[name]
    edges = grid.cells[0][1:][:: max(len(grid.cells[0]) // 500, 1)]
    near = [np.nextafter(edges, np.inf), edges, np.nextafter(edges, -np.inf), REFERENCES[name][:500], np.array(grid.atoms), extra]
    values = np.concatenate(near)
    connection = duckdb.connect()
    connection.register("given", pa.table({"x": values}))
    keys = np.asarray(connection.execute(f"SELECT {grid.key_sql('x')} AS k FROM given").fetchnumpy()["k"])
    assert np.array_equal(grid.bins_of_keys(keys), grid.bins_of_values(values))


def test_what_is_no_finite_number_has_keys_of_its_own() -> None:
    connection = duckdb.connect()
    connection.register("given", pa.table({"x": pa.array([None, float("nan"), float("inf"), -float("inf"), 1.0])}))
    for grid in GRIDS.values():
        keys = [row[0] for row in connection.execute(f"SELECT {grid.key_sql('x')} FROM given").fetchall()]
        assert keys[:4] == [NULL_KEY, NAN_KEY, INFINITE_KEY, INFINITE_KEY]
        assert keys[4] not in {NULL_KEY, NAN_KEY, INFINITE_KEY}


def test_all_keys_fit_sixteen_bits() -> None:
    for grid in GRIDS.values():
        assert FIRST_KEY <= grid.cells[2].max() < 1 << 16


def test_integers_that_the_reference_lacks_have_bins_of_their_own_too() -> None:
    lower, upper = fitted(np.array([0.0, 1.0, 5.0])).bins
    assert {-3.0, 2.0, 99.0} <= set(lower[lower == upper])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=40))
@example([2.0**51 + 7])  # an odd whole number where cells are two wide
@example([2.0**51 - 1])
@settings(max_examples=60, deadline=None)
def test_any_reference_has_a_grid_whose_bins_hold_it(values: list[float]) -> None:
    grid = fitted(np.array(values, float))
    lower, upper = grid.bins
    at = grid.bins_of_values(np.array(values, float))
    assert np.all(lower[at] <= values)
    assert np.all((np.array(values) < upper[at]) | (lower[at] == upper[at]))
    assert np.all(lower[at] == upper[at])  # so few distinct values are kept as they are
