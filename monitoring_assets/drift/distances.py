"""Distances between a reference and current histograms, for many days at once. Nothing here knows thresholds or storage.

`reference` has shape (K,), or (D, K) where each day has its own; `current` (D, K): row counts on the same K bins. Every function
returns (D,) scores and is `nan` where a side has no rows. Shares are of the rows on these bins, so a bin for missing values makes
missingness part of a score. Which bins are given to which function is decided in `scores.py`; 'bins' below tells what that is.
"""

import numpy as np

Array = np.ndarray


def shares(counts: Array) -> Array:
    """Counts divided by their sum over the last axis; nan where the sum is 0."""
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(axis=-1, keepdims=True)


def psi(reference: Array, current: Array) -> Array:
    """Population stability index Σ (q − p) ln(q / p), natural logarithm.

    Range 0 to ∞, in nats, symmetric, 0 for equal shares. A bin that is empty on one side counts as half a row there, because the
    index would be infinite; one that is empty on both is no bin, so a day's index does not depend on what other days hold.
    Bins: the reference's deciles, open at both ends, or its categories; one for missing values.
    Source: Siddiqi, Credit Risk Scorecards (2006); as a symmetrised Kullback–Leibler divergence: Jeffreys (1946).

    Examples
    --------
    >>> psi(np.array([25.0, 25, 25, 25]), np.array([[85.0, 5, 5, 5]])).round(5)
    array([1.69993])
    """
    held = (reference > 0) | (current > 0)
    p, q = (shares(np.where(counts > 0, counts, held / 2)) for counts in (reference, current))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(held, (q - p) * np.log(q / p), 0.0)
    return _defined(reference, current, terms.sum(axis=-1))


def js(reference: Array, current: Array) -> Array:
    """Jensen–Shannon distance: the square root of the divergence, base 2.

    Range 0 to 1, symmetric, a metric. Bins: equal reference mass, as many as `scores.resolution` allows, or categories; one
    for missing values. Source: Lin (1991), Endres and Schindelin (2003).

    Examples
    --------
    >>> js(np.array([1.0, 0]), np.array([[0, 1.0], [1, 0]])).round(3)
    array([1., 0.])
    """
    p, q = shares(reference), shares(current)
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        halves = [np.where(x > 0, x * np.log2(x / middle), 0.0).sum(axis=-1) for x in (p, q)]
    return _defined(reference, current, np.sqrt(np.clip((halves[0] + halves[1]) / 2, 0, 1)))


def ks(reference: Array, current: Array, gaps: Array | None = None) -> Array:
    """Kolmogorov–Smirnov statistic: the largest gap between the two cumulative shares. Bins must be in order. `gaps` saves time
    where `gaps_between` the two is known already.

    Range 0 to 1, symmetric. Bins: the profile's own, without missing values; exact where each is a single value.
    Source: Smirnov (1939).

    Examples
    --------
    >>> ks(np.array([5.0, 5]), np.array([[1.0, 9]])).round(3)
    array([0.4])
    """
    gaps = gaps_between(reference, current) if gaps is None else gaps
    largest = np.maximum(gaps.max(axis=-1, initial=0.0), -gaps.min(axis=-1, initial=0.0))
    return _defined(reference, current, largest)


def wasserstein(reference: Array, current: Array, positions: Array, gaps: Array | None = None) -> Array:
    """First Wasserstein distance (earth mover's) ÷ the reference's standard deviation. `positions` (K,) or (D, K) ascend; `gaps`
    as for `ks`.

    Range 0 to ∞, in reference standard deviations; nan for a constant reference, unless nothing moved, and where
    the deviation is too large to be a number. Bins: the profile's own,
    without missing values, each with its mass in the middle.
    Source: Vallender (1974), the integral of the absolute difference of the distribution functions.

    Examples
    --------
    >>> wasserstein(np.array([1.0, 1, 0]), np.array([[0.0, 1, 1]]), np.array([0.0, 1, 2])).round(3)
    array([2.])
    """
    if current.shape[-1] == 0:
        return np.full(len(current), np.nan)
    gaps = gaps_between(reference, current) if gaps is None else gaps
    with np.errstate(over="ignore", invalid="ignore"):
        moved = np.vecdot(np.abs(gaps[:, :-1]), np.diff(positions, axis=-1))
    spread = standard_deviation(reference, positions)
    with np.errstate(divide="ignore", invalid="ignore"):
        known = np.where((spread > 0) & (spread < np.inf), moved / spread, np.nan)
    return _defined(reference, current, np.where(moved == 0, 0.0, known))


def chi2(reference: Array, current: Array) -> tuple[Array, Array]:
    """Pearson's χ² of the two-sample contingency table, and its p-value. The reference is a sample too, never exact.

    Statistic 0 to ∞, symmetric; p-value 0 to 1, low means different. Bins as for `psi`. Of weighted rows give each
    side's shares times its effective rows, as `scores.Comparison` does; that corrects the statistic to first order (Rao and
    Scott 1981, JASA 76, with Kish's design effect of the weights). Source: Pearson (1900); the p-value is scipy's.

    Examples
    --------
    >>> statistic, p = chi2(np.array([16.0, 16, 16, 16, 16, 8]), np.array([[16.0, 18, 16, 14, 12, 12]]))
    >>> p.round(5)
    array([0.89853])
    """
    from scipy import special  # `stats` would take half a second to import

    total = reference.sum(axis=-1, keepdims=True) + current.sum(axis=-1, keepdims=True)
    pooled = reference + current
    with np.errstate(divide="ignore", invalid="ignore"):
        sides = [
            np.where(pooled > 0, (side - expected) ** 2 / expected, 0.0).sum(axis=-1)
            for side, expected in (
                (reference, pooled * reference.sum(axis=-1, keepdims=True) / total),
                (current, pooled * current.sum(axis=-1, keepdims=True) / total),
            )
        ]
        statistic = sides[0] + sides[1]
        freedom = (pooled > 0).sum(axis=-1) - 1
        p_value = np.where(freedom > 0, special.chdtrc(np.clip(freedom, 1, None), statistic), 1.0)
    return _defined(reference, current, statistic), _defined(reference, current, p_value)


def hellinger(reference: Array, current: Array) -> Array:
    """Hellinger distance: the square root of 1 − Σ √(p q).

    Range 0 to 1, symmetric, a metric. Bins as for `js`. Source: Hellinger (1909); normal case: Pardo (2006).

    Examples
    --------
    >>> hellinger(np.array([1.0, 1]), np.array([[1.0, 1], [1, 0]])).round(5)
    array([0.    , 0.5412])
    """
    p, q = shares(reference), shares(current)
    # As half the squared distance of the roots: 1 − Σ √(p q) would leave rounding errors of 1e-8 between equal sides.
    return _defined(reference, current, np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum(axis=-1) / 2).clip(0, 1))


def kl(reference: Array, current: Array) -> Array:
    """Kullback–Leibler divergence Σ q ln(q / p) of the current shares q from the reference's p, natural logarithm.

    Range 0 to ∞, in nats, not symmetric: what the reference would need to explain the current rows. A bin that is empty on one
    side counts as half a row there, one that is empty on both is no bin. Bins as for `js`. Source: Kullback and Leibler (1951).

    Examples
    --------
    >>> kl(np.array([50.0, 50]), np.array([[75.0, 25]])).round(5)
    array([0.13081])
    """
    held = (reference > 0) | (current > 0)
    p, q = (shares(np.where(counts > 0, counts, held / 2)) for counts in (reference, current))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(held, q * np.log(q / p), 0.0)
    return _defined(reference, current, terms.sum(axis=-1).clip(0))


def tv(reference: Array, current: Array) -> Array:
    """Total variation: half the sum of the absolute differences of shares, the share of rows that would have to move.

    Range 0 to 1, symmetric, a metric. Bins as for `js`. Source: Levin, Peres and Wilmer (2009), proposition 4.2.

    Examples
    --------
    >>> tv(np.array([5.0, 5]), np.array([[1.0, 9]])).round(3)
    array([0.4])
    """
    return _defined(reference, current, np.abs(shares(current) - shares(reference)).sum(axis=-1) / 2)


def linf(reference: Array, current: Array) -> Array:
    """L∞: the largest difference of the shares of one bin.

    Range 0 to 1, symmetric, a metric. Bins as for `js`. Source: Breck et al., Data Validation for Machine Learning (2019).

    Examples
    --------
    >>> linf(np.array([2.0, 2, 6]), np.array([[2.0, 5, 3]])).round(3)
    array([0.3])
    """
    return _defined(reference, current, np.abs(shares(current) - shares(reference)).max(axis=-1, initial=0.0))


def ks_p_value(scores: Array, effective_rows: Array | float) -> Array:
    """How often two samples of one distribution differ as much: Kolmogorov's limit of the KS statistic's distribution.

    Range 0 to 1, low means different. `effective_rows` is n m / (n + m); below 20 of them the limit says too little.
    Source: Kolmogorov (1933), Smirnov (1939).

    Examples
    --------
    >>> ks_p_value(np.array([0.0, 0.0192]), 5_000).round(3)
    array([1.  , 0.05])
    """
    from scipy import special

    return np.asarray(special.kolmogorov(np.sqrt(effective_rows) * scores), float)


def cramer_von_mises(reference: Array, current: Array, gaps: Array | None = None) -> Array:
    """Cramér–von Mises distance ∫ (G − F)² d(F + G)/2 of the distribution functions: like KS, but every gap counts. `gaps` as for
    `ks`.

    Range 0 to 1/2, symmetric. It does not grow with the rows; scipy's two-sample statistic is about n m / (n + m) times it where
    n = m. Bins as for `ks`. Source: Anderson (1962).

    Examples
    --------
    >>> cramer_von_mises(np.array([1.0, 0]), np.array([[0.0, 1.0], [1, 0]])).round(3)
    array([0.5, 0. ])
    """
    gaps = gaps_between(reference, current) if gaps is None else gaps
    both = shares(current)
    both += shares(reference)
    return _defined(reference, current, np.vecdot(np.square(gaps), both) / 2)


def new_category(reference: Array, current: Array) -> Array:
    """Share of rows whose bin holds no row of the reference.

    Range 0 to 1, in shares of all rows, not symmetric. Bins: categories, and one for missing values, which is never new.
    Source: the 'unseen category' rule of Breck et al., Data Validation for Machine Learning (2019).

    Examples
    --------
    >>> new_category(np.array([3.0, 2, 0]), np.array([[3.0, 4, 1]])).round(3)
    array([0.125])
    """
    return _defined(reference, current, (shares(current) * (reference == 0)).sum(axis=-1))


def missingness(reference: Array, current: Array) -> Array:
    """Change of the missing share, absolute. Both hold (present, missing) counts in their last axis.

    Range 0 to 1, in shares of all rows, symmetric. Bins: present and missing (NULL, NaN, infinite).

    Examples
    --------
    >>> missingness(np.array([90.0, 10]), np.array([[75.0, 25]])).round(3)
    array([0.15])
    """
    return np.abs(shares(current)[..., 1] - shares(reference)[..., 1])


def standard_deviation(counts: Array, positions: Array) -> Array:
    """Population standard deviation of values at `positions` (..., K), weighted by counts (..., K)."""
    weights = shares(counts)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.vecdot(weights, positions)[..., None]
        return np.sqrt(np.vecdot(weights, (positions - mean) ** 2))


def gaps_between(reference: Array, current: Array) -> Array:
    """The current distribution function less the reference's, after each bin (D, K). One large array, not five: a year of days
    fills no cache, and fresh memory costs more than the sums."""
    gaps = shares(current)
    np.cumsum(gaps, axis=-1, out=gaps)
    gaps -= np.cumsum(shares(reference), axis=-1)
    return gaps


def _defined(reference: Array, current: Array, scores: Array) -> Array:
    return np.where((reference.sum(axis=-1) > 0) & (current.sum(axis=-1) > 0), scores, np.nan)
