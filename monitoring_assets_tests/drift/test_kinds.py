"""Laws of naming a change."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from monitoring_assets.drift.kinds import kinds_of_change
from monitoring_assets.drift.scores import Comparison
from monitoring_assets.measuring.histograms import Histogram

NOTHING = np.array([np.nan])
NUMBERS = Histogram(
    "numeric", [date(2026, 1, 1)], np.arange(6.0), np.array([[0.0, 10, 30, 10, 0, 0]]), np.array([0.0]),
    np.array([1.0]), np.array([3.0]), True,
)  # fmt: skip
WORDS = Histogram(
    "categorical", [date(2026, 1, 1)], np.array(["a", "b", "c"], object), np.array([[50.0, 50, 0]]), np.array([0.0]),
    NOTHING, NOTHING, True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "missing", "kind"),
    [
        ([0, 0, 10, 30, 10, 0], 0, "shift"),
        ([0, 20, 10, 20, 0, 0], 0, "shape"),
        ([0, 10, 30, 10, 0, 0], 25, "missing"),
        ([0, 0, 0, 0, 0, 0], 50, "missing"),
        ([0, 0, 0, 0, 0, 0], 0, None),
    ],
)
def test_a_numeric_change_is_named_by_what_moved(counts, missing, kind):
    day = replace(NUMBERS, counts=np.array([counts], float), missing=np.array([float(missing)]))
    assert kinds_of_change(Comparison.of(NUMBERS, day)).tolist() == [kind]


@pytest.mark.parametrize(
    ("counts", "missing", "kind"), [([40, 40, 20], 0, "new category"), ([80, 20, 0], 0, "shape"), ([50, 50, 0], 30, "missing")]
)
def test_a_categorical_change_is_named_by_what_moved(counts, missing, kind):
    day = replace(WORDS, counts=np.array([counts], float), missing=np.array([float(missing)]))
    assert kinds_of_change(Comparison.of(WORDS, day)).tolist() == [kind]
