"""Laws of `measure` and `merge`: any division of rows into batches gives the same tables, bit for bit."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from monitoring_assets.measuring import cells, delivered, ruled
from monitoring_assets.measuring.fitting import fit_grids, fit_numeric
from monitoring_assets.measuring.measure import Tables, Wanted, measure, merge
from monitoring_assets.measuring.watched import watched_rows
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.quality.expectations import Correlation, LastEvent, ReferenceFacts, expectations_of
from monitoring_assets_tests.example_monitor import FIRST, example_content

ROWS = 200
# A failing example is small enough as it is, and shrinking it takes minutes.
UNSHRUNK = (Phase.explicit, Phase.generate)
WEIGHTED = {"sampling_weight": "stands_for"}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "weighted": WEIGHTED,
    "regression": {"prediction": {"value": "score", "model_version": "model"}},
    "weighted regression": {"prediction": {"value": "score", "model_version": "model"}} | WEIGHTED,
}

FACTS = ReferenceFacts(
    minimum={"amount": 40.0, "items": 0.0},
    maximum={"amount": 60.0, "items": 1.0},
    categories={"country": ["land 0"]},
    commonest_prediction=0.1,
    last_event=LastEvent(1.0, 2.0, 0.5, 30, 100.0),
    correlations={("amount", "items"): Correlation(0.9, 0.0, ((40.0, 60.0), (0.0, 1.0)))},
)
RULES = [
    rule
    for rule in expectations_of(MonitorSpec.model_validate(example_content()), FACTS)
    if rule.kind not in ("of_type", "row_count")
]
REASONS = ["missing id: id is NULL", "not a number: amount is few", "not a number: amount due is items is 7", "repeated id: 7"]
NAMED = [("missing id", "id"), ("not a number", "amount"), ("not a number", "amount due"), ("repeated id", None)]


def rows_of(seed: int, rows: int = ROWS, lands: int = 2, *, weighted: bool = True) -> pa.Table:
    """Two days of rows whose sums differ in their last bits when they are added up in another order."""
    random = np.random.default_rng(seed)
    tenths = random.integers(1, 30, rows) / 10

    def some_missing(values: np.ndarray) -> pa.Array:
        return pa.array(values, mask=random.random(rows) < 0.1)

    score = some_missing(random.random(rows))
    return pa.table(
        {
            "day": pa.array([FIRST + timedelta(days=int(day)) for day in random.integers(0, 2, rows)], pa.date32()),
            "id": [f"{seed}-{place}" for place in range(rows)],
            "at": pa.array(random.integers(0, 10**15, rows), pa.timestamp("us", tz="UTC")),
            "amount": some_missing(random.choice([np.nan, np.inf, -0.0, 0.0, 7e9], rows) + random.normal(50, 10, rows) * tenths),
            "items": some_missing(random.choice([-0.0, 0.0, 1.0, 2.0], rows)),
            "country": some_missing(np.array([f"land {code}" for code in random.integers(0, lands, rows)])),
            "score": score,
            "predicted": some_missing(random.choice(["1", "0", "True", "maybe"], rows)),
            "model": some_missing(random.choice(["1", "2"], rows)),
            "stands_for": tenths,
            "took": some_missing(random.lognormal(3, 1, rows)),
            "failure": some_missing(random.choice(["", "boom"], rows)),
            "__label": some_missing(random.integers(0, 2, rows).astype(float)),
            "__score": score,
            "__predicted": pa.array(random.choice(["1", "0", "True"], rows)),
            "__weight": tenths if weighted else np.ones(rows),
            "__version": some_missing(random.choice(["1", "2"], rows)),
            "__reason": pa.array(random.choice(REASONS, rows), mask=random.random(rows) < 0.8),
            "__source": pa.array(random.choice(["log a", "log b"], rows)),
            "__original": [f'{{"id": {place}}}' for place in range(rows)],
        }
    )


def asked(case: str, rows: pa.Table, segments: Sequence[str] = ("country",)) -> tuple[MonitorSpec, Wanted]:
    """A monitor, and all that can be measured of its rows on grids fitted to some other day's."""
    content = example_content(serving={"latency_ms": "took", "error": "failure"}, segments=list(segments), **CASES[case])
    spec = MonitorSpec.model_validate(content)
    with duckdb.connect() as connection:
        connection.register("given", rows)
        grids = fit_grids(connection, watched_rows(spec, "given"), spec.watched_columns)
        crowded = [("amount", (40.0, 60.0), fit_numeric(connection, "given", '"amount"::DOUBLE'))]
        wanted = Wanted(grids, sample=True, serving=True, labelled=True, rules=dict(enumerate(RULES)), finer=crowded)
        return spec, replace(wanted, delivered=["id", "amount", "amount due"], by_version=True)


def measured(batches: Sequence[pa.Table], spec: MonitorSpec, wanted: Wanted) -> Tables:
    with duckdb.connect() as connection:
        parts = []
        for batch in batches:
            connection.register("batch", batch)
            parts.append(measure(connection, "batch", spec, wanted))
        return merge(connection, parts, spec, wanted)


def same(found: Tables, expected: Tables) -> None:
    """Equal bit for bit: -0.0 is another number than 0.0, and nan the same as nan."""
    assert set(found) == set(expected)
    for name, table in expected.items():
        one, other = (
            sorted(str(row) for row in each.select(sorted(table.column_names)).to_pylist()) for each in (found[name], table)
        )
        assert one == other, name


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@settings(max_examples=3, deadline=None, derandomize=True, phases=UNSHRUNK)
@given(st.integers(0, 1_000), st.integers(1, 5), st.randoms(use_true_random=False))
def test_any_division_of_a_days_rows_gives_the_same_tables(case: str, seed: int, count: int, random: Any) -> None:
    rows = rows_of(seed, weighted="weighted" in case)
    spec, wanted = asked(case, rows_of(seed + 1))
    places = np.array([random.randrange(count) for _ in range(ROWS)])
    order = np.array(random.sample(range(ROWS), ROWS))
    batches = [rows.take(order[places[order] == place]) for place in range(count)]
    whole = measured([rows], spec, wanted)
    assert set(whole) >= {"profile", "sample", "served", "latencies", "labelled", "ruled", "examples", "distinct"}
    assert set(whole) >= {"delivered", "refused", "finer"}
    same(measured([batch for batch in batches if len(batch)], spec, wanted), whole)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["plain", "weighted"])
@settings(max_examples=3, deadline=None, derandomize=True, phases=UNSHRUNK)
@given(st.integers(0, 1_000), st.integers(2, 4))
def test_so_it_is_where_categories_scores_and_latencies_are_too_many_to_be_kept(case: str, seed: int, count: int) -> None:
    """Few of a batch's days are crowded, all of the whole are, or the other way round."""
    rows = rows_of(seed, lands=60, weighted=case == "weighted")
    spec, wanted = asked(case, rows_of(seed + 1, 30, lands=60), segments=())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cells, "EXACT_NUMBERS", 40)
        patched.setattr(cells, "CELL_BITS", 4)
        patched.setattr(ruled, "EXAMPLES", 7)
        patched.setattr(delivered, "EXAMPLES_KEPT", 4)
        patched.setattr(ruled, "DISTINCT_COUNTED", 9)
        patched.setattr("monitoring_assets.measuring.kernel.EXACT_LIMIT", 20)
        whole = measured([rows], spec, wanted)
        assert not all(whole["profile"]["is_exact"].to_pylist())
        assert any(row["lower"] < row["upper"] for row in whole["latencies"].to_pylist())
        batches = [rows.slice(0, 5), *(rows.slice(5).take(np.arange(place, ROWS - 5, count)) for place in range(count))]
        same(measured(batches, spec, wanted), whole)
        same(measured([rows.slice(0, 150), rows.slice(150)], spec, wanted), whole)


@pytest.mark.slow
def test_merging_merged_batches_changes_nothing() -> None:
    rows = rows_of(1)
    spec, wanted = asked("weighted", rows)
    parts = [measured([rows.slice(start, 50)], spec, wanted) for start in range(0, ROWS, 50)]
    with duckdb.connect() as connection:
        halves = [merge(connection, parts[:2], spec, wanted), merge(connection, parts[2:], spec, wanted)]
        same(merge(connection, halves[::-1], spec, wanted), measured([rows], spec, wanted))


def test_a_crowded_cell_says_which_numbers_lie_in_it() -> None:
    """50,000 latencies: the cells do not overlap, and none is wider than a 10,000th of its numbers."""
    random = np.random.default_rng(0)
    numbers = pa.table({"day": [date(2026, 1, 1)] * 50_000, "lower": random.lognormal(3, 2, 50_000), "n": [1] * 50_000})
    numbers = numbers.append_column("upper", numbers["lower"])
    with duckdb.connect() as connection:
        connection.register("numbers", numbers)
        table = cells.bounded_cells(connection, "numbers", ["day"], {"n": "BIGINT"})
        found = {name: table[name].to_numpy() for name in ("lower", "upper", "n")}
    assert found["n"].sum() == 50_000
    assert (found["lower"][1:] > found["upper"][:-1]).all()
    assert (found["upper"] <= found["lower"] * (1 + 1e-4)).all()


def test_of_delivered_rows_the_accepted_ones_are_measured_and_the_others_counted_by_rule_and_column() -> None:
    rows = rows_of(2)
    spec, wanted = asked("plain", rows)
    accepted = rows.filter(pc.is_null(rows["__reason"]))
    found = measured([rows], spec, wanted)
    others = {name: table for name, table in found.items() if name not in ("delivered", "refused")}
    same(others, measured([accepted], spec, replace(wanted, delivered=None)))
    counted = Counter(zip(rows["day"].to_pylist(), rows["__reason"].to_pylist(), strict=True))
    names = {None: (None, None), **dict(zip(REASONS, NAMED, strict=True))}
    expected = {(day, *names[reason]): count for (day, reason), count in counted.items()}
    assert {(row["day"], row["rule"], row["column_name"]): row["rows"] for row in found["delivered"].to_pylist()} == expected
    refused = [row for row in rows.to_pylist() if row["__reason"]]
    assert sorted(row["original"] for row in found["refused"].to_pylist()) == sorted(row["__original"] for row in refused)
