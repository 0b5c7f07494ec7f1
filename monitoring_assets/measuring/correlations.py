"""Pearson's r on a scale where its noise is the same whatever it is."""

import numpy as np

# A correlation of ±1 has no finite Fisher z.
ALMOST_ONE = 0.9999


def fisher_z(r: np.ndarray | float) -> np.ndarray:
    """Fisher's z = artanh(r), for which the noise of a correlation of n rows is about 1 / √(n − 3) (Fisher, Metron 1, 1921).
    nan stays nan.

    >>> fisher_z(np.array([0.0, -0.5, 1.0])).round(3).tolist()
    [0.0, -0.549, 4.952]
    """
    return np.arctanh(np.clip(r, -ALMOST_ONE, ALMOST_ONE))
