"""Laws of the intervals of metrics: at a nominal 95 % they hold what they are about that often, on rows whose truth is known."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from monitoring_assets.performance.labelled_rows import measure
from monitoring_assets.performance.metrics import Task

Rows = tuple[np.ndarray, np.ndarray]  # labels and scores
Draw = Callable[[np.random.Generator, int], Rows]
RUNS = 800


def calibrated(generator: np.random.Generator, rows: int) -> Rows:
    scores = generator.beta(2, 3, rows)
    return (generator.random(rows) < scores).astype(float), scores


def with_ties(generator: np.random.Generator, rows: int) -> Rows:
    scores = generator.integers(0, 11, rows) / 10
    return (generator.random(rows) < 0.1 + 0.7 * scores).astype(float), scores


def well_told_apart(generator: np.random.Generator, rows: int) -> Rows:
    labels = generator.random(rows) < 0.3
    return labels.astype(float), 1 / (1 + np.exp(-generator.normal(np.where(labels, 2, -2), 1.2)))


def with_normal_errors(generator: np.random.Generator, rows: int) -> Rows:
    labels = generator.normal(20, 3, rows)
    return labels, labels + generator.normal(0.5, 1, rows)


def shares_that_hold_the_truth(draw: Draw, task: Task, rows: int) -> dict[str, float]:
    generator = np.random.default_rng(5)
    truth = {name: measured.value for name, measured in measure(*draw(generator, 400_000), None, task).items()}
    held: dict[str, list[bool]] = {name: [] for name in truth}
    for _ in range(RUNS):
        for name, measured in measure(*draw(generator, rows), None, task).items():
            if not math.isnan(measured.interval.lower):
                held[name].append(measured.interval.lower <= truth[name] <= measured.interval.upper)
    return {name: float(np.mean(each)) for name, each in held.items() if each}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "task"),
    [
        (calibrated, "classification"),
        (with_ties, "classification"),
        (well_told_apart, "classification"),
        (with_normal_errors, "regression"),
    ],
)
def test_95_percent_intervals_hold_the_truth_of_all_rows_that_often(draw: Draw, task: Task) -> None:
    """Eight hundred runs tell a share of 95 % to within 2.3 points (three standard errors)."""
    found = shares_that_hold_the_truth(draw, task, 1_000)
    assert set(found) == (
        {"auc", "pr_auc", "accuracy", "precision", "recall", "specificity", "f1", "log_loss", "brier"}
        if task == "classification"
        else {"rmse", "mae", "mape", "bias"}
    )
    assert all(0.925 <= share <= 0.98 for share in found.values()), found


def test_a_perfect_order_of_few_rows_is_not_certain() -> None:
    """DeLong's variance is 0; Newcombe's interval of 10 ones above 20 zeros begins at .87."""
    labels = np.repeat([0.0, 1.0], [20, 10])
    found = measure(labels, np.linspace(0, 1, 30), None, "classification")["auc"]
    assert (found.value, found.interval.upper) == (1.0, 1.0)
    assert 0.8 < found.interval.lower < 0.95
    mirrored = measure(1 - labels, np.linspace(0, 1, 30), None, "classification")["auc"]
    assert mirrored.interval == pytest.approx((1 - found.interval.upper, 1 - found.interval.lower), abs=0.02)


def test_rows_of_weight_2_are_worth_no_more_than_single_ones() -> None:
    """Every row twice as heavy is the same sample, not one of twice the size."""
    labels, scores = calibrated(np.random.default_rng(1), 300)
    plain = measure(labels, scores, None, "classification")
    heavy = measure(labels, scores, None, "classification", weights=np.full(300, 2.0))
    for name, measured in plain.items():
        assert heavy[name].interval == pytest.approx(measured.interval, nan_ok=True), name


def test_an_interval_narrows_with_the_root_of_the_rows() -> None:
    widths = []
    for rows in (1_000, 100_000):
        found = measure(*calibrated(np.random.default_rng(2), rows), None, "classification")
        widths.append(
            {name: m.interval.upper - m.interval.lower for name, m in found.items() if m.interval.lower == m.interval.lower}
        )
    assert all(widths[0][name] / widths[1][name] == pytest.approx(10, rel=0.15) for name in widths[0])
