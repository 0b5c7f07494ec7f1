"""What kind of change a column went through: missing, new category, shift or shape. Read from histograms, for days at once.

Whether it changed enough to matter is `thresholds.py`'s to say; this only names what changed most.
"""

import numpy as np

from monitoring_assets.drift import distances
from monitoring_assets.drift.distances import Array
from monitoring_assets.drift.scores import Comparison

KINDS = ("missing", "new category", "shift", "shape")
# Of the way the values moved (W₁), the part that moved the mean. One normal shape moved by d has 1, one only widened has 0.
SHIFT_SHARE = 0.7


def kinds_of_change(pair: Comparison) -> np.ndarray:
    """For each window (D,) one of `KINDS`, or None where a side has no rows.

    Missing: the missing share changed more than half as much as the values did (total variation; of numbers over the reference's
    deciles, as single values hardly ever repeat). New category: values the reference has not seen make up more than half of that
    change. Else, for a numeric column, a shift when its mean moved
    by most of the way its values moved; all other changes are of shape, such as spread, or which categories are common.
    """
    rows = [
        side.sum(axis=-1) + missing
        for side, missing in ((pair.reference, pair.reference_missing), (pair.current, pair.current_missing))
    ]
    missing = np.abs(pair.current_missing / np.maximum(rows[1], 1) - pair.reference_missing / np.maximum(rows[0], 1))
    expected, shares = pair.shares
    grouped = [np.nan_to_num(distances.shares(side[:, :-1])) for side in pair.grouped(10)]
    moved = np.abs(grouped[1] - grouped[0]).sum(axis=-1) / 2
    new = (shares * (pair.reference == 0)).sum(axis=-1)
    if pair.kind == "numeric":
        kinds = np.where(_is_shift(pair.positions, shares - expected), "shift", "shape").astype(object)
    else:
        kinds = np.where(new > moved / 2, "new category", "shape").astype(object)
    kinds[missing > moved / 2] = "missing"
    kinds[(rows[1] == 0) | (rows[0] == 0)] = None
    return kinds


def _is_shift(positions: Array, change: Array) -> Array:
    if positions.shape[-1] < 2:
        return np.zeros(len(change), bool)
    way = (np.abs(np.cumsum(change, axis=-1)[:, :-1]) * np.diff(positions, axis=-1)).sum(axis=-1)
    return np.abs((change * positions).sum(axis=-1)) > SHIFT_SHARE * way
