"""Laws of a day's sample: bounded, the same however rows are ordered or split, and merged into a sample of the whole."""

import hashlib
from datetime import date, timedelta

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring_assets.measuring.sample import merged, samples

DAY = date(2026, 1, 1)


def sample(frame: pd.DataFrame, size: int, weight: str | None = None) -> pd.DataFrame:
    """The sample of a frame of `id`, `x` and maybe `day`, in the order of day and key."""
    with duckdb.connect() as connection:
        frame = frame if "day" in frame else frame.assign(day=DAY)
        connection.register("given", pa.Table.from_pandas(frame, preserve_index=False))
        rows = "(SELECT * REPLACE (day::DATE AS day) FROM given)"
        connection.register("drawn", samples(connection, rows, "id", ["x"], weight, size))
        return connection.execute("SELECT * FROM drawn ORDER BY day, sample_key").df()


def rows(count: int, start: int = 0) -> pd.DataFrame:
    return pd.DataFrame({"id": [f"p{i}" for i in range(start, start + count)], "x": np.arange(start, start + count, dtype=float)})


@pytest.mark.slow
@given(st.integers(0, 60), st.integers(1, 60), st.integers(1, 20))
@settings(max_examples=25, deadline=None)
def test_the_smallest_keys_of_two_samples_are_the_sample_of_the_union(left: int, right: int, size: int) -> None:
    a, b = rows(left), rows(right, left)
    parts = pd.concat([sample(part, size) for part in (a, b) if len(part)])
    whole = sample(pd.concat([a, b]), size)
    merged_parts = parts.nsmallest(size, "sample_key").reset_index(drop=True)
    pd.testing.assert_frame_equal(merged_parts, whole)


@pytest.mark.slow
@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.integers(2, 20))
@settings(max_examples=25, deadline=None)
def test_merged_days_hold_every_row_of_all_days_up_to_their_largest_key(counts: list[int], size: int) -> None:
    days = [rows(count, 100 * place).assign(day=DAY + timedelta(days=place)) for place, count in enumerate(counts)]
    kept = pd.concat([sample(day, size) for day in days], ignore_index=True)
    chosen = kept[merged(kept["day"].to_numpy().astype("datetime64[D]").astype(int), kept["sample_key"].to_numpy(), size=size)]
    everything = pd.concat([sample(day, 1000) for day in days], ignore_index=True).nsmallest(len(chosen), "sample_key")
    assert set(chosen["x"]) == set(everything["x"])
    assert len(chosen) >= min(size, sum(counts))


def test_the_order_of_rows_does_not_matter_and_each_day_has_its_own_sample() -> None:
    frame = pd.concat([rows(50).assign(day=DAY), rows(9, 50).assign(day=DAY + timedelta(days=1))])
    found = sample(frame, 10)
    pd.testing.assert_frame_equal(sample(frame.iloc[::-1], 10), found)
    assert found["day"].value_counts().tolist() == [10, 9]


def test_keys_are_those_of_md5_whatever_computes_them() -> None:
    uniform = ((int.from_bytes(hashlib.md5(b"p0").digest()[8:], "little") >> 11) + 0.5) / 2**53
    assert sample(rows(1), 5)["sample_key"][0] == pytest.approx(-np.log(uniform), rel=1e-14)


def test_a_row_of_weight_three_is_drawn_as_often_as_three_rows() -> None:
    frame = rows(30_000).assign(w=lambda f: np.where(f["x"] < 10_000, 3.0, 1.0))
    heavy = (sample(frame, 1_000, "w")["x"] < 10_000).mean()
    assert heavy == pytest.approx(0.6, abs=3 * np.sqrt(0.24 / 1_000))


def test_rows_of_weight_zero_are_never_drawn() -> None:
    assert sample(rows(5).assign(w=[0.0, 1.0, 0.0, 2.0, 0.0]), 5, "w")["x"].sort_values().tolist() == [1.0, 3.0]


def test_a_limit_keeps_the_smallest_keys() -> None:
    keys = np.random.default_rng(0).random(50)
    assert set(keys[merged(np.zeros(50), keys, limit=7)]) == set(np.sort(keys)[:7])


def test_a_day_that_kept_all_its_rows_is_thinned_until_each_row_counts_as_often_as_it_stands_for_rows() -> None:
    """900 rows are fewer than a day keeps: 300 of weight 10 and 600 of weight 1 stand for 3,600, of which 600 are one sixth."""
    frame = rows(900).assign(w=lambda f: np.where(f["x"] < 300, 10.0, 1.0))
    kept = sample(frame, 1_000, "w")
    chosen = kept[merged(np.zeros(len(kept)), kept["sample_key"].to_numpy(), weights=kept["w"].to_numpy())]
    assert (chosen["x"] < 300).sum() == 300
    assert (chosen["x"] >= 300).sum() == pytest.approx(60, abs=3 * np.sqrt(60 * 0.9))


@pytest.mark.parametrize("count", [1_200, 3_000, 12_000])
def test_full_and_half_full_days_merge_into_a_sample_in_proportion_to_weights(count: int) -> None:
    days = [rows(size, 20_000 * place).assign(day=DAY + timedelta(days=place)) for place, size in enumerate((count, 700))]
    frame = pd.concat(days).assign(w=lambda f: np.where(f["x"] % 3 == 0, 10.0, 1.0))
    kept = sample(frame, 1_000, "w")
    ordinals = kept["day"].to_numpy().astype("datetime64[D]").astype(int)
    chosen = kept[merged(ordinals, kept["sample_key"].to_numpy(), weights=kept["w"].to_numpy())]
    heavy = (frame["w"] * (frame["w"] > 1)).sum() / frame["w"].sum()
    assert (chosen["w"] > 1).mean() == pytest.approx(heavy, abs=3 * np.sqrt(heavy * (1 - heavy) / len(chosen)))
