"""How common rows like each of the reference's are today: the ratio of densities, from a classifier that tells the two apart.

Where a classifier says p that a row is today's, with both sides equally heavy, the ratio is p / (1 - p) (Sugiyama, Suzuki,
Kanamori 2012; Bickel, Brückner, Scheffer 2009). Rows are always given the opinion of a classifier that has not seen them.
"""

from collections.abc import Callable

import numpy as np

Array = np.ndarray

# Rows of a side that a classifier learns from. More change its opinion little and cost time in proportion.
FIT_ROWS = 30_000
FOLDS = 3
# No row counts more than this many times as much as it did, so that one odd row cannot decide an estimate.
LARGEST_RATIO = 50.0
# A fold of fewer rows of either side teaches nothing.
FEWEST_ROWS = 30

Classify = Callable[[Array, Array, Array, Array], Array]


def density_ratios(reference: Array, current: Array, seed: int = 0) -> Array:
    """The weight of each reference row, on average 1, under which the reference is distributed as the current rows.

    A logistic regression and boosted trees are tried; if neither tells held-out rows apart better than chance, by more
    than a standard error, all weights are 1.

    Parameters
    ----------
    reference, current : features as numbers, nan where missing. Shapes (N, d) and (M, d).

    Examples
    --------
    >>> x = np.linspace(0, 1, 2000)[:, None]
    >>> weights = density_ratios(x, np.sqrt(x))
    >>> float(weights[-200:].mean() / weights[:200].mean()) > 5
    True
    """
    if min(len(reference), len(current)) < FOLDS * FEWEST_ROWS or not reference.shape[1]:
        return np.ones(len(reference))
    generator = np.random.default_rng(seed)
    folds = [generator.permutation(len(side)) % FOLDS for side in (reference, current)]
    best, least = np.full(len(reference), 0.5), np.log(2.0)
    for classify in (_logistic, _trees):
        of_reference, of_current = _held_out(classify, reference, current, folds, generator)
        losses = -np.log1p(-of_reference), -np.log(of_current)
        loss = (losses[0].mean() + losses[1].mean()) / 2
        noise = np.sqrt(losses[0].var() / len(reference) + losses[1].var() / len(current)) / 2
        if loss + noise < least:
            best, least = of_reference, float(loss)
    ratios = np.minimum(best / (1 - best), LARGEST_RATIO)
    return ratios / ratios.mean()


def _held_out(
    classify: Classify, reference: Array, current: Array, folds: list[Array], generator: np.random.Generator
) -> tuple[Array, Array]:
    """The probability that a row is current, of each reference row and each current one."""
    from threadpoolctl import threadpool_limits

    found = np.full(len(reference), 0.5), np.full(len(current), 0.5)
    for fold in range(FOLDS):
        seen = [_some(np.flatnonzero(places != fold), generator) for places in folds]
        rows = np.concatenate([reference[seen[0]], current[seen[1]]])
        is_current = np.repeat([0.0, 1.0], [len(seen[0]), len(seen[1])])
        # Both sides weigh the same, and one row of the smaller side one.
        small = min(len(seen[0]), len(seen[1]))
        weights = np.repeat([small / len(seen[0]), small / len(seen[1])], [len(seen[0]), len(seen[1])])
        asked = [np.flatnonzero(places == fold) for places in folds]
        held_out = np.concatenate([reference[asked[0]], current[asked[1]]])
        # A second thread would wait for cores that others use.
        with threadpool_limits(1):
            opinions = np.clip(classify(rows, is_current, weights, held_out), 1e-4, 1 - 1e-4)
        found[0][asked[0]], found[1][asked[1]] = np.split(opinions, [len(asked[0])])
    return found


def _some(places: Array, generator: np.random.Generator) -> Array:
    return places if len(places) <= FIT_ROWS else generator.choice(places, FIT_ROWS, replace=False)


def _logistic(rows: Array, is_current: Array, weights: Array, asked: Array) -> Array:
    from sklearn.linear_model import LogisticRegression

    known = np.where(np.isfinite(rows), rows, np.nan)
    has_any = np.isfinite(known).any(axis=0)
    middle = np.where(has_any, np.nanmean(np.where(has_any, known, 0.0), axis=0), 0.0)
    scale = np.where(has_any, np.nanstd(np.where(has_any, known, 0.0), axis=0), 1.0)
    prepared = [_standardised(each, middle, np.where(scale > 0, scale, 1.0)) for each in (rows, asked)]
    model = LogisticRegression(C=1.0, max_iter=200).fit(prepared[0], is_current, sample_weight=weights)
    return model.predict_proba(prepared[1])[:, 1]


def _standardised(rows: Array, middle: Array, scale: Array) -> Array:
    """Missing values are the mean, and a column says where they were."""
    missing = ~np.isfinite(rows)
    return np.hstack([np.clip(np.where(missing, 0.0, (rows - middle) / scale), -10, 10), missing])


def _trees(rows: Array, is_current: Array, weights: Array, asked: Array) -> Array:
    from sklearn.ensemble import HistGradientBoostingClassifier

    # Small trees and large leaves: a ratio need not be sharp, but an overfit one scatters the weights.
    leaf = max(20, len(rows) // 200)
    model = HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.1, max_leaf_nodes=8, min_samples_leaf=leaf, l2_regularization=1.0, early_stopping=False
    )
    return model.fit(rows, is_current, sample_weight=weights).predict_proba(asked)[:, 1]
