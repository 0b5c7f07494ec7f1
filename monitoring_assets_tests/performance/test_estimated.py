"""Laws of the estimates: closed forms, all label sets one by one, intervals that cover, and the shift each method is for."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitoring_assets.performance import confusion_distribution
from monitoring_assets.performance.calibration import ISOTONIC, LabelledScores, best_bins, calibrated, fitted
from monitoring_assets.performance.confusion_distribution import ConfusionDistribution, central_interval, number_of_ones
from monitoring_assets.performance.density_ratio import density_ratios
from monitoring_assets.performance.direct_loss import dle
from monitoring_assets.performance.estimated import Estimate, PredictedRows, cbpe, metrics_from, prior_shift
from monitoring_assets.performance.labelled_rows import realised_metrics
from monitoring_assets.performance.metrics import METRICS
from monitoring_assets.performance.prior_shift import base_rates

Array = np.ndarray
ALL = METRICS["classification"]


def known(scores: Array, metrics: tuple[str, ...] = ALL, seed: int = 0) -> dict[str, Estimate]:
    """Estimates where each score is the probability of label 1, for certain."""
    rows = PredictedRows.of(scores, scores >= 0.5)
    return metrics_from(rows.scores, rows.scores[None, :].repeat(2, 0), rows, metrics, np.random.default_rng(seed))


def test_four_rows_have_the_expected_confusion_matrix_and_its_metrics() -> None:
    scores = np.array([0.9, 0.8, 0.3, 0.1])
    matrix = ConfusionDistribution.of(scores, np.array([1, 1, 0, 0]), np.ones(4))
    assert matrix.expected == pytest.approx((1.7, 0.4))
    found = {metric: estimate.value for metric, estimate in known(scores).items()}
    expected = {"accuracy": 0.825, "precision": 0.85, "recall": 0.80952, "auc": 0.863409, "specificity": 1.6 / 1.9}
    assert {metric: found[metric] for metric in expected} == pytest.approx(expected, abs=5e-6)
    assert found["f1"] == pytest.approx(2 * 1.7 / (2 * 1.7 + 0.3 + 0.4))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_a_sum_of_coins_has_the_distribution_of_their_convolution(probabilities: list[float]) -> None:
    expected = np.ones(1)
    for p in probabilities:
        expected = np.convolve(expected, [1 - p, p])
    first, mass = number_of_ones(probabilities)
    found = np.zeros(len(expected))
    found[first : first + len(mass)] = mass
    assert np.abs(found - expected).max() < 1e-12


def test_a_sum_of_a_million_equal_coins_is_binomial() -> None:
    first, mass = number_of_ones([0.3], [1_000_000])
    assert np.abs(mass - stats.binom.pmf(np.arange(first, first + len(mass)), 1_000_000, 0.3)).max() < 1e-10


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), min_size=1, max_size=8))
def test_intervals_of_the_confusion_matrix_are_those_of_all_sets_of_labels(rows: list[tuple[float, bool]]) -> None:
    p, chosen = (np.array(column, float) for column in zip(*rows, strict=True))
    labels = np.array(list(product([0, 1], repeat=len(p))), float)
    mass = np.prod(np.where(labels == 1, p, 1 - p), axis=1)
    counts = (labels * chosen).sum(axis=1), (labels * (1 - chosen)).sum(axis=1)
    matrix = ConfusionDistribution.of(p, chosen, np.ones(len(p)))
    for metric, formula in confusion_distribution.METRICS.items():
        with np.errstate(invalid="ignore", divide="ignore"):
            values = formula(*counts, chosen.sum(), (1 - chosen).sum())
        # An end whose tail is exactly 2.5 % may fall either way.
        ends = [central_interval(values, mass, level) for level in (0.95 - 1e-9, 0.95 + 1e-9)]
        found = matrix.interval(metric)
        assert any(np.allclose(found, each, equal_nan=True) for each in ends), metric


def test_an_uncertain_calibration_widens_the_confusion_matrix_by_its_covariance() -> None:
    generator = np.random.default_rng(0)
    p = generator.random(400)
    spread = np.array([[90.0, -40.0], [-40.0, 60.0]])
    plain, wide = (ConfusionDistribution.of(p, p >= 0.5, np.ones(400), each) for each in (None, spread))
    for axis, values in enumerate(("true_positives", "false_negatives")):
        variances = []
        for matrix in (plain, wide):
            mass, counts = matrix.mass.sum(axis=1 - axis), getattr(matrix, values)
            variances.append(mass @ counts**2 - (mass @ counts) ** 2)
        assert variances[1] - variances[0] == pytest.approx(spread[axis, axis], rel=1e-3)
    tp, fn = wide.true_positives, wide.false_negatives
    covariance = tp @ wide.mass @ fn - (tp @ wide.mass.sum(axis=1)) * (wide.mass.sum(axis=0) @ fn)
    assert covariance == pytest.approx(-40.0, rel=1e-3)


def covered(windows: int, reference_rows: int | None, seed: int) -> dict[str, list[bool]]:
    """Whether intervals hold the realised metrics of windows of 10 to 1,000 rows with Beta scores that are calibrated."""
    generator = np.random.default_rng(seed)
    found: dict[str, list[bool]] = {metric: [] for metric in ALL}
    while len(found["accuracy"]) < windows:
        shape = generator.uniform(0.1, 10, 2)
        scores = generator.beta(*shape, round(10 ** generator.uniform(1, 3)))
        labels = (generator.random(len(scores)) < scores).astype(float)
        if reference_rows is None:
            estimates = known(scores, seed=seed)
        else:
            before = generator.beta(*shape, reference_rows)
            labels_before = generator.random(reference_rows) < before
            if labels_before.all() or not labels_before.any():
                continue
            estimates = cbpe(LabelledScores.of(before, labels_before), PredictedRows.of(scores, scores >= 0.5), seed=seed)
        for metric, value in realised_metrics(labels, scores, None, "classification").items():
            if np.isfinite(value) and np.isfinite(estimates[metric].lower):
                found[metric].append(estimates[metric].lower - 1e-9 <= value <= estimates[metric].upper + 1e-9)
    return found


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("reference_rows", [None, 5_000])
def test_intervals_cover_95_percent_of_windows_of_any_size(reference_rows: int | None) -> None:
    hits = covered(250, reference_rows, seed=1)
    pooled = np.mean([each for metric in ALL for each in hits[metric]])
    assert 0.93 <= pooled <= 0.97
    for metric, each in hits.items():
        # Of 250 windows a share of 95 % has a standard error of 1.4 %.
        assert 0.93 - 0.014 <= np.mean(each) <= 0.97 + 0.014, metric


def test_scores_are_made_probabilities_by_a_rising_curve_and_a_weight_of_two_is_two_rows() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random(1_500)
    labels = generator.random(1_500) < scores**2
    weights = generator.integers(1, 4, 1_500)
    grid = np.linspace(0, 1, 101)
    weighted = LabelledScores.of(scores, labels, weights)
    repeated = LabelledScores.of(np.repeat(scores, weights), np.repeat(labels, weights))
    for bins in (1, 5, 20, ISOTONIC):
        curve = fitted(weighted.scores, weighted.ones, weighted.zeros, bins)(grid)
        assert (np.diff(curve) >= 0).all()
        assert curve.min() >= 0
        assert curve.max() <= 1
        assert curve == pytest.approx(fitted(repeated.scores, repeated.ones, repeated.zeros, bins)(grid)), bins
    found = calibrated(LabelledScores.of(scores, labels), grid, generator)
    assert np.sqrt(((found.probabilities - grid**2) ** 2).mean()) < 0.05
    assert weighted.effective_rows == pytest.approx(weights.sum() ** 2 / (weights**2).sum())


def test_the_curve_that_is_chosen_is_nearer_to_the_truth_than_isotonic_regression_on_few_rows() -> None:
    generator = np.random.default_rng(0)
    grid, apart = np.linspace(0.05, 0.95, 50), {"chosen": 0.0, "isotonic": 0.0}
    for _ in range(20):
        scores = generator.random(300)
        cells = LabelledScores.of(scores, generator.random(300) < scores)
        for name, bins in (("chosen", best_bins(cells, generator)), ("isotonic", ISOTONIC)):
            apart[name] += float(((fitted(cells.scores, cells.ones, cells.zeros, bins)(grid) - grid) ** 2).mean()) / 20
    assert apart["chosen"] < 0.6 * apart["isotonic"]
    many = generator.random(50_000)
    step = generator.random(50_000) < np.where(many > 0.63, 0.9, 0.1)
    assert best_bins(LabelledScores.of(many, step), generator) in {ISOTONIC, 50, 100}


def test_the_base_rate_is_where_em_ends() -> None:
    generator = np.random.default_rng(0)
    p, rows, before = generator.random(50), generator.integers(1, 30, 50).astype(float), 0.4
    rate = before
    for _ in range(20_000):
        ones, zeros = p * rate / before, (1 - p) * (1 - rate) / (1 - before)
        rate = float((rows * ones / (ones + zeros)).sum() / rows.sum())
    assert base_rates(p[None, :], rows, np.array([before]))[0] == pytest.approx(rate, abs=1e-6)


def two_classes(generator: np.random.Generator, rows: int, rate: float) -> tuple[Array, Array]:
    """Scores of a model that was right when half of the labels were 1."""
    labels = (generator.random(rows) < rate).astype(float)
    return 1 / (1 + np.exp(-2 * generator.normal(labels - 0.5, 0.8) / 0.8**2 * 0.5)), labels


def test_a_moved_base_rate_is_found_and_its_metrics_are_estimated_where_cbpe_is_wrong() -> None:
    generator = np.random.default_rng(0)
    before = LabelledScores.of(*two_classes(generator, 20_000, 0.5))
    scores, labels = two_classes(generator, 5_000, 0.1)
    rows = PredictedRows.of(scores, scores >= 0.5)
    found, rate = prior_shift(before, rows)
    assert rate == pytest.approx(0.1, abs=0.02)
    realised = realised_metrics(labels, scores, None, "classification")
    for metric in ("precision", "f1", "pr_auc", "auc", "recall"):
        assert found[metric].lower <= realised[metric] <= found[metric].upper, metric
    blind = cbpe(before, rows)
    assert abs(blind["precision"].value - realised["precision"]) > 5 * abs(found["precision"].value - realised["precision"])


def test_rows_of_one_population_all_weigh_the_same_or_nearly_so() -> None:
    generator = np.random.default_rng(0)
    weights = density_ratios(generator.normal(size=(3_000, 4)), generator.normal(size=(3_000, 4)))
    assert weights.sum() ** 2 / (weights**2).sum() > 0.97 * 3_000
    assert density_ratios(np.zeros((10, 1)), np.ones((10, 1))).tolist() == [1.0] * 10, "too few rows to tell"


def test_weights_are_the_ratio_of_two_normal_densities() -> None:
    generator = np.random.default_rng(0)
    before, now = generator.normal(0, 1, (20_000, 1)), generator.normal(0.7, 1, (5_000, 1))
    weights = density_ratios(before, now)
    truth = np.exp(0.7 * before[:, 0] - 0.7**2 / 2)
    assert np.corrcoef(weights, truth)[0, 1] > 0.98
    assert weights.mean() == pytest.approx(1.0)


def hidden(generator: np.random.Generator, rows: int, shift: float) -> tuple[Array, Array, Array]:
    """Features, scores of a model that ignores the second of them, and labels that depend on both."""
    x = generator.normal([0.0, shift], 1, (rows, 2))
    labels = (generator.random(rows) < 1 / (1 + np.exp(-x[:, 0] - x[:, 1]))).astype(float)
    return x, 1 / (1 + np.exp(-0.85 * x[:, 0])), labels


@pytest.mark.slow
def test_where_a_shift_breaks_the_calibration_pape_is_right_and_cbpe_is_not() -> None:
    generator = np.random.default_rng(0)
    features, scores, labels = hidden(generator, 8_000, 0.0)
    errors: dict[str, list[float]] = {"cbpe": [], "pape": []}
    held = []
    for _ in range(3):
        now, scores_now, labels_now = hidden(generator, 2_000, 1.0)
        rows, realised = PredictedRows.of(scores_now, scores_now >= 0.5), labels_now[scores_now >= 0.5].mean()
        weights = density_ratios(np.column_stack([scores, features]), np.column_stack([scores_now, now]))
        for name, each in (("cbpe", None), ("pape", weights)):
            estimate = cbpe(LabelledScores.of(scores, labels, each), rows, ("precision",))["precision"]
            errors[name].append(abs(estimate.value - realised))
        held.append(estimate.lower <= realised <= estimate.upper)
    assert np.mean(errors["pape"]) < 0.02 < 0.05 < np.mean(errors["cbpe"])
    assert np.mean(held) > 0.6


def noisy(generator: np.random.Generator, rows: int, lowest: float) -> tuple[Array, Array, Array]:
    """Features, predictions and labels whose noise grows with the feature."""
    x = generator.uniform(lowest, 2, (rows, 1))
    predicted = 3 + 2 * x[:, 0]
    return x, predicted, predicted + generator.normal(0, 0.3 + x[:, 0])


@pytest.mark.slow
def test_errors_of_a_regression_are_estimated_where_rows_move_to_noisier_places() -> None:
    generator = np.random.default_rng(0)
    features, predicted, labels = noisy(generator, 5_000, 0.0)
    before = realised_metrics(labels, predicted, None, "regression")
    hits = []
    for _ in range(4):
        now, predicted_now, labels_now = noisy(generator, 500, 1.0)
        found = dle(features, predicted, labels, now, predicted_now, METRICS["regression"])
        realised = realised_metrics(labels_now, predicted_now, None, "regression")
        hits += [found[metric].lower <= realised[metric] <= found[metric].upper for metric in ("rmse", "mae", "r2", "bias")]
        assert found["mae"].value == pytest.approx(realised["mae"], rel=0.15)
        assert found["mae"].lower > before["mae"], "the loss is seen"
    assert np.mean(hits) >= 0.85


def test_a_relative_error_is_not_estimated_where_a_label_is_0() -> None:
    labels = np.array([0.0, *np.arange(1.0, 50)])
    features = np.arange(50.0)[:, None]
    found = dle(features, labels + 1, labels, features, labels, ("mape", "bias"))
    assert found["mape"].reason == "mape needs labels other than 0, found 0 in the reference"
    assert found["bias"].value == pytest.approx(1.0)
