"""The metrics of a regression whose labels are missing: models of its errors, learnt on the reference (direct loss estimation,
DLE).

A model of the error says how large it tends to be for rows like these (NannyML's idea of a second model, the "nanny"). Each row
of the reference is given the opinion of a model that has not seen it, so that its own errors are known too.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from monitoring_assets.performance.estimated import Estimate, undefined

Array = np.ndarray

FOLDS = 5
# Rows that a model learns from, and current rows that are drawn from to see how far chance moves a metric.
FIT_ROWS = 20_000
DRAWN_ROWS = 2_000
DRAWS = 1_000
# The mean of what of the errors each metric needs.
NEEDS = {
    "rmse": ("square",),
    "mae": ("absolute", "square"),
    "mape": ("relative",),
    "r2": ("signed", "square"),
    "bias": ("signed", "square"),
}
FEWEST_ROWS = 2 * FOLDS


def dle(
    features: Array,
    predicted: Array,
    labels: Array,
    current_features: Array,
    current: Array,
    metrics: Sequence[str],
    seed: int = 0,
) -> dict[str, Estimate]:
    """The metrics of the current rows.

    Parameters
    ----------
    features, predicted, labels : of the reference's rows. Shapes (N, d), (N,), (N,).
    current_features, current : features and predictions of the current rows. Shapes (M, d), (M,).
    """
    if len(labels) < FEWEST_ROWS:
        return dict.fromkeys(metrics, undefined(f"dle needs {FEWEST_ROWS} labelled rows, found {len(labels)}"))
    generator = np.random.default_rng(seed)
    targets = _targets(predicted, labels)
    wanted = sorted({need for metric in metrics for need in NEEDS[metric] if np.isfinite(targets[need]).all()})
    folds = generator.permutation(len(labels)) % FOLDS
    models = {name: _Errors.of(name, features, targets[name], current_features, folds, generator) for name in wanted}
    return {metric: _estimate(metric, models, targets, current, generator) for metric in metrics}


def _targets(predicted: Array, labels: Array) -> dict[str, Array]:
    error = predicted - labels
    relative = np.divide(np.abs(error), np.abs(labels), out=np.full(len(labels), np.inf), where=labels != 0)
    return {"signed": error, "absolute": np.abs(error), "square": error**2, "relative": relative}


class _Errors:
    """What is expected of the errors: of each reference row by a model that has not seen it, (N,); of each current row by each
    of the models, (FOLDS, M)."""

    def __init__(self, held_out: Array, current: Array) -> None:
        self.held_out, self.current = held_out, current

    @classmethod
    def of(
        cls, name: str, features: Array, target: Array, current: Array, folds: Array, generator: np.random.Generator
    ) -> "_Errors":
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits

        size = float(np.abs(target).mean())
        if size == 0:
            return cls(np.zeros(len(target)), np.zeros((FOLDS, len(current))))
        held_out, found = np.zeros(len(target)), np.zeros((FOLDS, len(current)))
        for fold in range(FOLDS):
            seen = np.flatnonzero(folds != fold)
            seen = seen if len(seen) <= FIT_ROWS else generator.choice(seen, FIT_ROWS, replace=False)
            model = HistGradientBoostingRegressor(
                # Means of what cannot be negative multiply; those of signed errors add up.
                loss="squared_error" if name == "signed" else "poisson",
                max_iter=80, learning_rate=0.07, max_leaf_nodes=15, min_samples_leaf=max(20, len(seen) // 200),
                l2_regularization=1.0, early_stopping=False,
            )  # fmt: skip
            # A second thread would wait for cores that others use.
            with threadpool_limits(1, user_api="openmp"):
                model.fit(features[seen], target[seen] / size)
                held_out[folds == fold] = size * model.predict(features[folds == fold])
                found[fold] = size * model.predict(current)
        # On held-out rows the model must be right on average.
        if name == "signed":
            return cls(held_out, found + (target.mean() - held_out.mean()))
        return cls(held_out, found * (target.mean() / held_out.mean()))


def _estimate(
    metric: str, models: Mapping[str, _Errors], targets: Mapping[str, Array], current: Array, generator: np.random.Generator
) -> Estimate:
    if metric == "mape" and "relative" not in models:
        return undefined("mape needs labels other than 0, found 0 in the reference")
    expected = {name: model.current.mean(axis=0) for name, model in models.items()}
    value = _value(metric, expected, current)
    if not math.isfinite(value):
        return undefined("r2 needs labels that vary")
    one_by_one = [_value(metric, {name: model.current[fold] for name, model in models.items()}, current) for fold in range(FOLDS)]
    # Jackknife over the folds that a model did not see.
    of_models = math.sqrt((FOLDS - 1) / FOLDS * float(((np.array(one_by_one) - np.mean(one_by_one)) ** 2).sum()))
    drawn = _drawn(metric, models, targets, expected, current, generator)
    moved = drawn - drawn.mean() + of_models * generator.standard_normal(len(drawn))
    lower, upper = np.quantile(moved, [0.025, 0.975])
    smallest, largest = {"r2": (-math.inf, 1.0), "bias": (-math.inf, math.inf)}.get(metric, (0.0, math.inf))
    return Estimate(value, max(value + float(lower), smallest), min(value + float(upper), largest))


def _value(metric: str, expected: Mapping[str, Array], current: Array) -> float:
    match metric:
        case "rmse":
            return math.sqrt(expected["square"].mean())
        case "mae":
            return float(expected["absolute"].mean())
        case "mape":
            return float(expected["relative"].mean())
        case "bias":
            return float(expected["signed"].mean())
    # The label is the prediction minus the error.
    mean = (current - expected["signed"]).mean()
    square = (current**2 - 2 * current * expected["signed"] + expected["square"]).mean()
    variance = float(square - mean**2)
    return 1 - float(expected["square"].mean()) / variance if variance > 0 else math.nan


def _drawn(
    metric: str,
    models: Mapping[str, _Errors],
    targets: Mapping[str, Array],
    expected: Mapping[str, Array],
    current: Array,
    generator: np.random.Generator,
) -> Array:
    """What the metric would be, had each current row the error of a reference row in proportion to what is expected of both."""
    rows = np.arange(len(current)) if len(current) <= DRAWN_ROWS else generator.choice(len(current), DRAWN_ROWS, replace=False)
    is_relative = metric == "mape"
    of = "relative" if is_relative else "square"
    sizes = [np.maximum(side, 1e-12 * targets[of].mean() + 1e-300) for side in (models[of].held_out, expected[of][rows])]
    if not is_relative:
        sizes = [np.sqrt(size) for size in sizes]
    ratios = targets["relative" if is_relative else "signed"] / sizes[0]
    found = np.empty(DRAWS)
    for place in range(DRAWS):
        error = ratios[generator.integers(0, len(ratios), len(rows))] * sizes[1]
        found[place] = _of_errors(metric, error, current[rows])
    # Of more rows than were drawn, chance moves the metric less.
    return found.mean() + (found - found.mean()) * math.sqrt(len(rows) / len(current))


def _of_errors(metric: str, error: Array, current: Array) -> float:
    match metric:
        case "rmse":
            return math.sqrt((error**2).mean())
        case "mae":
            return float(np.abs(error).mean())
        case "mape" | "bias":
            return float(error.mean())
    variance = float((current - error).var())
    return 1 - float((error**2).mean()) / variance if variance > 0 else 0.0
