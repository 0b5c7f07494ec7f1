"""Laws of the counts: they add up, and every metric of a pool is that of its rows; scikit-learn is the second opinion."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from monitoring_assets.performance.counts import NUMBERS, PerformanceCounts, count_rows, pooled
from monitoring_assets.performance.labelled_rows import realised_metrics
from monitoring_assets.performance.metrics import metrics_of
from monitoring_assets.performance.score_histogram import CELL_SHARE, ScoreHistogram

Array = np.ndarray
ALLOWED = 1e-4

random = np.random.default_rng(8)
MANY = 60_000
# Scores of models as they are: what a fixed grid of equal bins would put into one of them, or cut in the wrong place.
SCORES: dict[str, Array] = {
    "spread": random.random(MANY),
    "tiny": 1e-7 * random.random(MANY),
    "skewed": random.beta(0.2, 30, MANY),
    "saturated": np.clip(random.normal(0.5, 0.8, MANY), 0, 1),
    "near one": 1 - 1e-9 * random.random(MANY),
    "narrow band in a wide range": np.where(random.random(MANY) < 0.5, 0.3 + 1e-6 * random.random(MANY), random.random(MANY)),
    "ties": random.integers(0, 40, MANY) / 40,
    "constant": np.full(MANY, 0.25),
    "not probabilities": random.normal(0, 1000, MANY),
}
WEIGHTS = {"plain": None, "weighted": random.choice([0.1, 1.0, 10.0, 250.0], MANY)}


def labels_for(scores: Array) -> Array:
    """1 more often where the score ranks higher."""
    rank = np.searchsorted(np.sort(scores), scores) / len(scores)
    return (np.random.default_rng(1).random(len(scores)) < 0.1 + 0.5 * rank).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("weighing", WEIGHTS)
@pytest.mark.parametrize("shape", SCORES)
def test_the_auc_of_pooled_days_is_that_of_their_rows_within_its_bound(shape: str, weighing: str) -> None:
    scores, weights = SCORES[shape], WEIGHTS[weighing]
    labels = labels_for(scores)
    each = weights if weights is not None else np.ones(MANY)
    sizes = [0, 50, 1_000, 31_000, MANY]  # a quiet day, a small one, two of more scores than are kept singly
    days = [
        ScoreHistogram.of(scores[part], (each * labels)[part], (each * (1 - labels))[part]).compressed()
        for part in (slice(a, b) for a, b in pairwise(sizes))
    ]
    value, bound = ScoreHistogram.pooled(days).auc()
    expected = sklearn_metrics.roc_auc_score(labels, scores, sample_weight=weights)
    assert abs(value - expected) <= bound + 1e-12
    assert bound <= ALLOWED
    assert max(len(day.lowers) for day in days) <= 4 / CELL_SHARE


def test_days_whose_scores_lie_elsewhere_pool_within_the_bound() -> None:
    """Each day's cells are fitted to its own scores, and overlap those of the others."""
    parts, rows = [], []
    for day in range(6):
        scores = np.random.default_rng(day).beta(1 + day, 7 - day, 40_000)
        labels = (np.random.default_rng(day + 10).random(40_000) < scores).astype(float)
        parts.append(ScoreHistogram.of(scores, labels, 1 - labels).compressed())
        rows.append((scores, labels))
    value, bound = ScoreHistogram.pooled(parts).auc()
    scores, labels = (np.concatenate(column) for column in zip(*rows, strict=True))
    assert 0 < bound <= ALLOWED
    assert abs(value - sklearn_metrics.roc_auc_score(labels, scores)) <= bound


def test_the_metric_in_memory_and_the_pooled_one_agree_within_the_bound() -> None:
    """A candidate is measured in memory, a window from stored counts; they are compared."""
    scores, labels = SCORES["skewed"], labels_for(SCORES["skewed"])
    value, bound = ScoreHistogram.of(scores, labels, 1 - labels).compressed().auc()
    assert abs(realised_metrics(labels, scores, None, "classification")["auc"] - value) <= bound <= ALLOWED


def test_few_scores_are_kept_as_they_are_and_the_auc_is_exact() -> None:
    scores = random.random(20_000)
    labels = labels_for(scores)
    kept = ScoreHistogram.of(scores, labels, 1 - labels).compressed()
    assert np.array_equal(kept.lowers, np.sort(scores))
    assert kept.auc() == (pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=1e-14), 0.0)


row = st.tuples(
    st.sampled_from([0.0, 1.0, math.nan]),
    st.floats(0, 1) | st.sampled_from([0.0, 1.0, 0.5, math.nan]),
    st.sampled_from(["0", "1", "true", "False", "", None]),
    st.sampled_from([0.0, 0.5, 1.0, 3.0]),
)


def same(one: PerformanceCounts, other: PerformanceCounts) -> None:
    """Equal up to the rounding of sums."""
    for name in NUMBERS:
        assert getattr(one, name) == (
            pytest.approx(getattr(other, name), abs=1e-6, rel=1e-9)
            if isinstance(getattr(one, name), float)
            else getattr(other, name)
        )


@settings(max_examples=100, deadline=None)
@given(st.lists(row, max_size=40), st.lists(st.integers(0, 40), max_size=4))
def test_any_split_of_the_rows_pools_to_the_same_counts_and_metrics(rows: list[tuple], cuts: list[int]) -> None:
    def counted(some: list[tuple]) -> PerformanceCounts:
        labels, scores, predicted, weights = zip(*some, strict=True) if some else ([], [], [], [])
        return count_rows(labels, scores, predicted, "classification", weights=weights)

    ends = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    together = pooled([counted(rows[a:b]) for a, b in pairwise(ends)] or [counted([])])
    whole = counted(rows)
    same(together, whole)
    merged, single = (ScoreHistogram.of(c.scores.lowers, c.scores.ones, c.scores.zeros) for c in (together, whole))
    assert np.array_equal(merged.lowers, single.lowers)
    assert np.allclose(merged.ones, single.ones)
    assert np.allclose(merged.zeros, single.zeros)
    for metric, found in metrics_of(together, "classification").items():
        expected = metrics_of(whole, "classification")[metric]
        assert found.reason == expected.reason
        assert found.value == pytest.approx(expected.value, nan_ok=True)


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("weighing", ["plain", "weighted"])
def test_the_errors_of_a_regression_are_exact_however_the_rows_are_split(offset: float, weighing: str) -> None:
    labels = offset + random.normal(0, 3, 1_000) + np.repeat([0.0, 50.0], 500)
    values = labels + random.normal(0, 1, 1_000)
    weights = None if weighing == "plain" else random.choice([0.2, 1.0, 30.0], 1_000)
    ends = [0, 1, 500, 700, 1_000]
    together = pooled(
        [
            count_rows(labels[a:b], values[a:b], None, "regression", weights=None if weights is None else weights[a:b])
            for a, b in pairwise(ends)
        ]
    )
    found = {name: measured.value for name, measured in metrics_of(together, "regression").items()}
    weigh = {"sample_weight": weights}
    assert found["rmse"] == pytest.approx(sklearn_metrics.root_mean_squared_error(labels, values, **weigh), rel=1e-9)
    assert found["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(labels, values, **weigh), rel=1e-9)
    assert found["r2"] == pytest.approx(sklearn_metrics.r2_score(labels, values, **weigh), rel=1e-9)


def test_effective_rows_count_what_rows_of_equal_weight_would_tell() -> None:
    assert count_rows([0, 1, 1], [0.1, 0.2, 0.3], None, "classification", weights=[2, 2, 2]).effective_rows == pytest.approx(3)
    assert count_rows([0, 1, 1], [0.1, 0.2, 0.3], None, "classification", weights=[1, 1, 98]).effective_rows < 1.05
