"""Laws of the realised metrics; scikit-learn is the second opinion."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from monitoring_assets.performance.labelled_rows import measure, realised_metrics
from monitoring_assets.performance.metrics import METRICS, improvement

probability = st.floats(0, 1)
number = st.floats(-1e6, 1e6)
both_classes = st.lists(st.tuples(st.integers(0, 1), probability), min_size=2, max_size=60).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


def scikit_learns(labels: np.ndarray, scores: np.ndarray, chosen: np.ndarray, weights: np.ndarray | None) -> dict[str, float]:
    """Every metric of a classification by scikit-learn, nan where it is undefined."""
    weigh = {"sample_weight": weights}
    each = np.ones(len(labels)) if weights is None else weights
    of_classes = weigh | {"zero_division": math.nan}
    bins = np.minimum((scores * 10).astype(int), 9)
    apart = sum(abs((each * (labels - scores))[bins == place].sum()) for place in range(10))
    return {
        "auc": sklearn_metrics.roc_auc_score(labels, scores, **weigh),
        "pr_auc": sklearn_metrics.average_precision_score(labels, scores, **weigh),
        "accuracy": sklearn_metrics.accuracy_score(labels, chosen, **weigh),
        "precision": sklearn_metrics.precision_score(labels, chosen, **of_classes),
        "recall": sklearn_metrics.recall_score(labels, chosen, **of_classes),
        "specificity": sklearn_metrics.recall_score(labels, chosen, pos_label=0, **of_classes),
        "f1": sklearn_metrics.f1_score(labels, chosen, **of_classes),
        "log_loss": sklearn_metrics.log_loss(labels, scores, labels=[0, 1], **weigh),
        "brier": sklearn_metrics.brier_score_loss(labels, scores, **weigh),
        "expected_calibration_error": apart / each.sum(),
    }


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(both_classes, probability)
def test_classification_metrics_equal_scikit_learns(rows: list[tuple[int, float]], cut: float) -> None:
    labels, scores = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = realised_metrics(labels, scores, None, "classification", cut)
    assert found == pytest.approx(scikit_learns(labels, scores, scores >= cut, None), abs=1e-9, nan_ok=True)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(number, number), min_size=2, max_size=60).filter(lambda rows: np.ptp([r[0] for r in rows]) > 1))
def test_regression_metrics_equal_scikit_learns(rows: list[tuple[float, float]]) -> None:
    labels, values = (np.array(column) for column in zip(*rows, strict=True))
    found = realised_metrics(labels, values, None, "regression")
    assert found["rmse"] == pytest.approx(sklearn_metrics.root_mean_squared_error(labels, values))
    assert found["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(labels, values))
    assert found["r2"] == pytest.approx(sklearn_metrics.r2_score(labels, values))
    assert found["bias"] == pytest.approx(np.mean(values - labels), abs=1e-9)
    if (np.abs(labels) > np.finfo(float).eps).all():  # smaller ones scikit-learn takes for this
        assert found["mape"] == pytest.approx(sklearn_metrics.mean_absolute_percentage_error(labels, values))


weighted = st.lists(st.tuples(st.integers(0, 1), probability, st.sampled_from([0.5, 1, 3, 10])), min_size=2, max_size=40)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(weighted.filter(lambda rows: len({row[0] for row in rows}) == 2))
def test_weighted_classification_metrics_equal_scikit_learns(rows: list[tuple[int, float, float]]) -> None:
    labels, scores, weights = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = realised_metrics(labels, scores, None, "classification", weights=weights)
    assert found == pytest.approx(scikit_learns(labels, scores, scores >= 0.5, weights), abs=1e-9, nan_ok=True)


def test_weighted_regression_metrics_equal_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    labels, values, weights = generator.normal(size=(3, 50))
    weigh = {"sample_weight": np.exp(weights)}
    found = realised_metrics(labels, values, None, "regression", weights=np.exp(weights))
    assert found["rmse"] == pytest.approx(sklearn_metrics.root_mean_squared_error(labels, values, **weigh))
    assert found["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(labels, values, **weigh))
    assert found["r2"] == pytest.approx(sklearn_metrics.r2_score(labels, values, **weigh))
    assert found["mape"] == pytest.approx(sklearn_metrics.mean_absolute_percentage_error(labels, values, **weigh))
    assert found["bias"] == pytest.approx(np.average(values - labels, weights=np.exp(weights)))


def test_a_row_of_weight_zero_changes_nothing() -> None:
    without = realised_metrics([0, 1], [0.9, 0.6], None, "classification", weights=[2, 3])
    assert realised_metrics([0, 1, 1], [0.9, 0.6, 0.1], None, "classification", weights=[2, 3, 0]) == without


@given(both_classes)
def test_auc_of_reversed_scores_is_one_minus_auc(rows: list[tuple[int, float]]) -> None:
    labels, scores = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    auc = realised_metrics(labels, scores, None, "classification")["auc"]
    # Negation keeps ties ties; 1 - score would create some by rounding.
    reversed_auc = realised_metrics(labels, -scores, None, "classification")["auc"]
    assert reversed_auc == pytest.approx(1 - auc)


def test_rows_without_label_or_score_change_nothing() -> None:
    complete = realised_metrics([0, 1, 1], [0.2, 0.6, 0.4], None, "classification")
    with_gaps = realised_metrics([0, 1, 1, np.nan, 1], [0.2, 0.6, 0.4, 0.9, np.nan], None, "classification")
    assert with_gaps == complete


@pytest.mark.parametrize("texts", [["0", "1", "1", "0"], ["False", "true", "True", "false"], [0, 1, 1, 0], [0.0, 1.0, 1.0, 0.0]])
def test_predicted_classes_are_read_in_every_spelling(texts: list[object]) -> None:
    found = realised_metrics([0, 1, 0, 0], [0.9, 0.9, 0.9, 0.9], texts, "classification")
    assert found["accuracy"] == 0.75
    assert found["f1"] == pytest.approx(2 / 3)


def test_a_missing_predicted_class_falls_back_on_the_score() -> None:
    assert realised_metrics([0, 1, 1], [0.9, 0.9, 0.1], ["0", None, np.nan], "classification")["accuracy"] == 2 / 3


def test_an_unknown_predicted_class_undefines_only_what_needs_it() -> None:
    found = measure([0, 1], [0.1, 0.9], ["0", "late"], "classification")
    assert found["accuracy"].reason == found["f1"].reason
    assert found["accuracy"].reason == "predicted class must be 0 or 1, true or false, found 'late'"
    assert found["auc"].value == 1.0


@pytest.mark.parametrize(
    ("labels", "scores", "task", "metric", "reason"),
    [
        ([], [], "classification", "auc", "no labels"),
        ([np.nan], [0.5], "regression", "rmse", "no labels"),
        ([1.0], [np.nan], "regression", "rmse", "no scores on labelled rows"),
        ([0, 0], [0.1, 0.2], "classification", "auc", "auc needs both classes, found only 0"),
        ([0, 0], [0.1, 0.2], "classification", "f1", "f1 needs a label or a prediction of class 1, found none"),
        ([0, 1], [0.1, 1.5], "classification", "log_loss", "log_loss needs scores between 0 and 1, found 1.5"),
        ([0, 2], [0.1, 0.2], "classification", "auc", "labels of a classification must be 0 or 1, found 2"),
        ([0, 0], [0.1, 0.2], "classification", "recall", "recall needs a label 1, found none"),
        ([1, 1], [0.1, 0.2], "classification", "specificity", "specificity needs a label 0, found none"),
        ([1, 0], [0.1, 0.2], "classification", "precision", "precision needs a prediction of class 1, found none"),
        ([1, 0], [-0.1, 0.2], "classification", "brier", "brier needs scores between 0 and 1, found -0.1"),
        ([0, 3], [1.0, 2.0], "regression", "mape", "mape needs labels other than 0"),
        ([3, 3], [1.0, 2.0], "regression", "r2", "r2 needs labels that vary, found only 3"),
    ],
)
def test_undefined_is_nan_with_the_reason(labels, scores, task, metric, reason) -> None:
    found = measure(labels, scores, None, task)
    assert set(found) == set(METRICS[task])
    assert math.isnan(found[metric].value)
    assert found[metric].reason == reason


def test_a_reason_stands_exactly_where_a_value_is_missing() -> None:
    for labels in ([0, 0, 0], [1, 1, 1], [0, 1, 1]):
        for found in measure(labels, [0.1, 0.2, 0.9], None, "classification").values():
            assert math.isnan(found.value) == (found.reason is not None)


def test_improvement_is_positive_when_the_new_model_is_better() -> None:
    assert improvement("classification", 0.7, 0.6) == pytest.approx(0.1)
    assert improvement("regression", 9.0, 10.0) == pytest.approx(0.1)
    assert improvement("regression", 11.0, 10.0) == pytest.approx(-0.1)
    assert improvement("regression", 0.0, 0.0) == 0.0
    assert improvement("regression", 1.0, 0.0) == -math.inf
    assert math.isnan(improvement("classification", math.nan, 0.6))
    assert math.isnan(improvement("regression", math.nan, 0.0))
