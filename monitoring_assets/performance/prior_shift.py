"""Labels became more or less common, and rows of either label look as before: the new base rate, from scores alone.

Saerens, Latinne, Decaestecker 2002. The base rate is the one under which the current scores are most likely.
"""

import numpy as np

Array = np.ndarray

# Halvings of the interval in which the base rate lies.
STEPS = 40


def base_rates(probabilities: Array, rows: Array, reference_rates: Array) -> Array:
    """The most likely base rate of the current rows, per set of probabilities.

    The likelihood is concave in the base rate. Saerens's EM climbs to its maximum; so does halving the interval in which its
    slope is 0, in fewer steps.

    Parameters
    ----------
    probabilities : of label 1 at the reference's base rate. Shape (sets, cells).
    rows : current rows per cell. Shape (cells,) or (sets, cells).
    reference_rates : the reference's share of label 1. Shape (sets,).

    Examples
    --------
    >>> p = np.array([[0.1, 0.9]])
    >>> base_rates(p, np.array([74.0, 26.0]), np.array([0.5])).round(3).tolist()
    [0.2]
    """
    before = reference_rates[:, None]
    of_one, of_zero = probabilities / before, (1 - probabilities) / (1 - before)
    low, high = np.zeros(len(probabilities)), np.ones(len(probabilities))
    for _ in range(STEPS):
        middle = (low + high) / 2
        likelihood = middle[:, None] * of_one + (1 - middle)[:, None] * of_zero
        slope = (rows * (of_one - of_zero) / np.maximum(likelihood, 1e-300)).sum(axis=1)
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    return (low + high) / 2


def at_base_rate(probabilities: Array, reference_rates: Array, rates: Array) -> Array:
    """The probabilities (sets, cells) of label 1 under other base rates (sets,), by Bayes' rule.

    Examples
    --------
    >>> at_base_rate(np.array([[0.5]]), np.array([0.5]), np.array([0.2])).round(3).tolist()
    [[0.2]]
    """
    ones = probabilities * (rates / reference_rates)[:, None]
    zeros = (1 - probabilities) * ((1 - rates) / (1 - reference_rates))[:, None]
    return ones / np.maximum(ones + zeros, 1e-300)
