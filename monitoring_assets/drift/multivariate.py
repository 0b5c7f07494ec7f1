"""Scores of all features together: how they go with each other, from a sample of the reference's rows and one of today's.

Columns become numbers here and methods compare them; the cuts are in `multivariate_thresholds.py`. Where samples come from
(`measuring/sample.py`) and how scores of single columns are made (`scores.py`) is not known here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from monitoring_assets.drift.distances import Array
from monitoring_assets.measuring.correlations import fisher_z
from monitoring_assets.monitor_spec import MultivariateMethod

# Stands in the column `feature` for all of them.
ALL_FEATURES = "(all features)"
# Share of variance that the kept components explain, NannyML's default.
EXPLAINED = 0.65
# Pairs or features named in `detail`.
NAMED = 3
# Rows of either side that the classifier sees. More cost time in proportion and find shifts that matter less.
CLASSIFIER_ROWS = 1_000
FOLDS = 3
# Fewer rows that have both values say nothing of their correlation.
PAIR_ROWS = 10


@dataclass(frozen=True)
class Score:
    """`score` is nan where undefined, with the `reason`; `detail` says what moved most."""

    score: float
    detail: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Encoding:
    """How rows become numbers: numeric features as they are, categories by how common they are in the reference.

    A category's number is its ridit: the reference's share of rarer categories plus half its own (Bross 1958). Its order is that
    of frequency encoding, which NannyML uses, but two categories that are equally common stay two numbers. Missing is a category;
    one the reference has not seen is 0. Missing and infinite numbers become nan.
    """

    numeric: tuple[str, ...]
    ridits: Mapping[str, Mapping[object, float]]

    @classmethod
    def fit(cls, reference: pd.DataFrame, kinds: Mapping[str, str]) -> "Encoding":
        numeric = tuple(name for name, kind in kinds.items() if kind == "numeric")
        return cls(numeric, {name: _ridits(reference[name]) for name in kinds if name not in numeric})

    @property
    def names(self) -> list[str]:
        return [*self.numeric, *self.ridits]

    def matrix(self, rows: pd.DataFrame) -> Array:
        """(N, d) numbers, columns in the order of `names`.

        Examples
        --------
        >>> rows = pd.DataFrame({"x": [1.0, np.inf, 3.0, 4.0], "c": ["a", "a", "b", None]})
        >>> Encoding.fit(rows, {"x": "numeric", "c": "categorical"}).matrix(rows).T.tolist()
        [[1.0, nan, 3.0, 4.0], [0.75, 0.75, 0.125, 0.375]]
        """
        columns = []
        for name in self.numeric:
            values = pd.to_numeric(rows[name]).to_numpy(float, na_value=np.nan)
            columns.append(np.where(np.isfinite(values), values, np.nan))
        for name, ridits in self.ridits.items():
            codes, known = pd.factorize(rows[name])
            columns.append(np.array([*(ridits.get(str(value), 0.0) for value in known), ridits.get(None, 0.0)])[codes])
        return np.column_stack(columns) if columns else np.zeros((len(rows), 0))


def _ridits(values: pd.Series) -> dict[object, float]:
    codes, known = pd.factorize(values)
    labels = [*map(str, known), None]
    counts = np.bincount(codes % len(labels), minlength=len(labels)) / max(len(codes), 1)
    # Ties fall by name, a missing value last, so that the order of rows does not matter.
    order = sorted(range(len(labels)), key=lambda i: (float(np.round(counts[i], 12)), labels[i] is None, labels[i] or ""))
    below = np.cumsum(counts[order]) - counts[order] / 2
    return {labels[i]: float(at) for i, at in zip(order, below, strict=True) if counts[i] > 0}


@dataclass(frozen=True)
class Structure:
    """What the reference's rows say of how features go together, over the features that vary. `rows` (N, d) are the reference's
    as its own standard deviations from its mean and `ranks` (N, d) as shares of its values that are smaller (ties half);
    both are nan where missing."""

    names: list[str]
    varying: np.ndarray
    mean: Array
    scale: Array
    ordered: list[Array]
    rows: Array
    ranks: Array

    @classmethod
    def of(cls, matrix: Array, names: Sequence[str]) -> "Structure":
        present = np.isfinite(matrix)
        count = np.maximum(present.sum(axis=0), 1)
        mean = np.where(present, matrix, 0.0).sum(axis=0) / count
        scale = np.sqrt((np.where(present, matrix - mean, 0.0) ** 2).sum(axis=0) / count)
        # Rounding leaves a constant a spread of some 1e-16 of its size.
        varying = scale > 1e-12 * np.maximum(np.abs(mean), 1e-300)
        kept = [name for name, is_kept in zip(names, varying, strict=True) if is_kept]
        ordered = [np.sort(column[np.isfinite(column)]) for column in matrix.T[varying]]
        unset = cls(kept, varying, mean[varying], scale[varying], ordered, matrix, matrix)
        return replace(unset, rows=unset.standardised(matrix), ranks=unset.ranked(matrix))

    def restricted(self, kept: np.ndarray) -> "Structure":
        """The structure of some of the reference's rows, in the units of all."""
        return replace(self, rows=self.rows[kept], ranks=self.ranks[kept])

    def standardised(self, matrix: Array) -> Array:
        return (matrix[:, self.varying] - self.mean) / self.scale

    def ranked(self, matrix: Array) -> Array:
        ranks = np.empty((len(matrix), len(self.names)))
        for place, (column, ordered) in enumerate(zip(matrix.T[self.varying], self.ordered, strict=True)):
            # Values repeat: each distinct one is ranked once. nan has the code -1, and so the last place.
            codes, values = pd.factorize(column)
            below, above = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
            ranks[:, place] = np.append((below + above) / (2 * len(ordered)), np.nan)[codes]
        return ranks

    @cached_property
    def z(self) -> Array:
        """Fisher's z of each pair of features, in the order of `pairs`."""
        return pair_z(self.ranks)

    @cached_property
    def components(self) -> Array:
        """(k, d): the fewest principal components that explain `EXPLAINED` of the variance, but never all of them."""
        filled = np.nan_to_num(self.rows)
        values, vectors = np.linalg.eigh(filled.T @ filled / max(len(filled), 1))
        explained = np.cumsum(values[::-1]) / max(values.sum(), 1e-300)
        kept = min(int(np.searchsorted(explained, EXPLAINED, side="right")) + 1, len(self.names) - 1)
        return vectors[:, ::-1][:, :kept].T

    @cached_property
    def residuals(self) -> Array:
        return self.unexplained(self.rows)

    @cached_property
    def error(self) -> float:
        """The reference's own mean reconstruction error."""
        return mean_error(self.residuals)

    def unexplained(self, rows: Array) -> Array:
        """(N, d) squares: standardised rows less what the components make of them; missing values count as the mean."""
        filled = np.nan_to_num(rows)
        return (filled - (filled @ self.components.T) @ self.components) ** 2


def mean_error(residuals: Array) -> float:
    """Mean distance of rows from what the components make of them, from their squared residuals (N, d)."""
    return float(np.sqrt(residuals.sum(axis=1)).mean())


def pairs(features: int) -> tuple[np.ndarray, np.ndarray]:
    """The two places of each pair of features, in the order of `pair_z`."""
    return np.triu_indices(features, 1)


def pair_z(rows: Array) -> Array:
    """Fisher's z = artanh(r) of every pair of columns of rows (..., N, d): (..., d (d − 1) / 2).

    Rows that lack either value do not count for a pair; nan where fewer than `PAIR_ROWS` have both or one of them is constant.

    Examples
    --------
    >>> x = np.arange(20.0)
    >>> np.tanh(pair_z(np.column_stack([x, -x, x % 2]))).round(2).tolist()
    [-1.0, 0.09, -0.09]
    """
    present = np.isfinite(rows)
    x = np.where(present, rows, 0.0)
    xt = np.swapaxes(x, -1, -2)
    products = xt @ x
    if present.all():
        count: Array = np.full_like(products, rows.shape[-2])
        sums = np.repeat(x.sum(axis=-2)[..., :, None], rows.shape[-1], axis=-1)
        squares = np.repeat((x**2).sum(axis=-2)[..., :, None], rows.shape[-1], axis=-1)
    else:
        held = present.astype(float)
        count = np.swapaxes(held, -1, -2) @ held
        sums, squares = xt @ held, xt**2 @ held
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums / count
        variance = squares / count - means**2
        covariance = products / count - means * np.swapaxes(means, -1, -2)
        spread = np.sqrt(variance * np.swapaxes(variance, -1, -2))
        defined = (count >= PAIR_ROWS) & (variance > 1e-10) & (np.swapaxes(variance, -1, -2) > 1e-10)
        r = np.where(defined, covariance / spread, np.nan)
    first, second = pairs(rows.shape[-1])
    return fisher_z(r[..., first, second])


def projected(method: MultivariateMethod, reference: Structure, matrix: Array) -> Array:
    """Rows (N, d), as `Encoding.matrix` gives them, the way a method takes them. Row by row: windows are parts of it."""
    if method == "correlation":
        return reference.ranked(matrix)
    rows = reference.standardised(matrix)
    return reference.unexplained(rows) if method == "pca_reconstruction" else rows


def score(method: MultivariateMethod, reference: Structure, rows: Array) -> Score:
    """Compare `projected` rows with the reference."""
    if len(reference.names) < 2:
        held = f"only {reference.names[0]!r} does" if reference.names else "none does"
        return Score(np.nan, reason=f"two features that vary in the reference are needed, {held}")
    if len(rows) == 0:
        return Score(np.nan, reason="0 rows")
    return METHODS[method](reference, rows)


def pca_reconstruction(reference: Structure, residuals: Array) -> Score:
    """|E / E₀ − 1|: E the mean distance of today's standardised rows from what the reference's components make of them, E₀ the
    reference's own.

    0 (as well reconstructed as the reference) to ∞. Rows that follow the reference's structure less are reconstructed worse,
    rows that follow it more closely better, and either is a change. The components explain 65 % of the reference's variance.
    Undefined when they reconstruct the reference without error. Source: NannyML, "Data reconstruction with PCA".
    """
    if reference.error < 1e-9:
        return Score(np.nan, reason="the reference's components reconstruct it without error: features repeat each other")
    ratio = mean_error(residuals) / reference.error
    moved = residuals.mean(axis=0) - reference.residuals.mean(axis=0)
    most = np.argsort(-np.abs(moved), kind="stable")[:NAMED]
    contributions = ", ".join(f"{reference.names[i]} {moved[i]:+.2f}" for i in most)
    return Score(abs(ratio - 1), f"error {ratio:.2f} times the reference's; squared, most from {contributions}")


def correlation_change(z: Array, reference: Array) -> Array:
    """The largest |Δz| over pairs, (..., P) and (P,) -> (...). nan where no pair is defined on both sides."""
    change = np.abs(z - reference)
    return np.where(np.isnan(change).all(axis=-1), np.nan, np.nan_to_num(change).max(axis=-1, initial=0.0))


def correlation(reference: Structure, ranks: Array) -> Score:
    """The largest change of a rank correlation, |artanh r − artanh r₀| over all pairs of features: Cohen's q of the pair that
    moved most.

    0 to 9.9. Fisher's z spreads alike whatever the correlation, so changes of weak and of strong ones compare. Ranks are among
    the reference's values (Spearman's correlation, on the reference's scale). Sources: Fisher 1921; Cohen 1988, chapter 4.

    Shuffled flights (78 pairs, 920 rows, 1 false alarm in 1,000 days) decided: one pair moved by q = 0.25 is found on 99 % of
    days; by the root mean square over pairs on 53 %; by the largest of Pearson's correlations, which heavy tails upset, on 15 %.
    """
    z = pair_z(ranks)
    found = float(correlation_change(z, reference.z))
    if np.isnan(found):
        return Score(np.nan, reason=f"no two features vary and have {PAIR_ROWS} rows with both values on each side")
    first, second = pairs(len(reference.names))
    order = np.argsort(-np.nan_to_num(np.abs(z - reference.z)), kind="stable")[:NAMED]
    changes = (
        f"{reference.names[first[i]]} and {reference.names[second[i]]} {np.tanh(reference.z[i]):+.2f} to {np.tanh(z[i]):+.2f}"
        for i in order
        if not np.isnan(z[i] - reference.z[i])
    )
    return Score(found, "; ".join(changes))


def domain_classifier(reference: Structure, rows: Array) -> Score:
    """AUC, the mean over folds of cross-validation, of a classifier that is to tell today's rows from the reference's.

    1/2 (no better than chance: alike; noise may put it below) to 1 (separated without error). Gradient boosted trees on at most
    `CLASSIFIER_ROWS` of either side, the same folds and seed for the same rows in any order. `detail` ranks features by how much
    AUC is lost when they are permuted. Source: Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests".
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    sides = [_bounded(side) for side in (reference.rows, rows)]
    if min(map(len, sides)) < 2 * FOLDS:
        return Score(np.nan, reason=f"{min(map(len, sides))} rows, {2 * FOLDS} needed on each side")
    x, y = np.concatenate(sides), np.repeat([0, 1], [len(side) for side in sides])
    generator = np.random.default_rng(0)
    aucs, lost = [], np.zeros(x.shape[1])
    # Rows this few are trained on faster by one thread than by several.
    with threadpool_limits(1):
        for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(x, y):
            model = HistGradientBoostingClassifier(max_iter=30, max_leaf_nodes=8, min_samples_leaf=10, early_stopping=False,
                                                   random_state=0).fit(x[train], y[train])  # fmt: skip
            # Fold by fold: the levels of two models' predictions do not compare.
            aucs.append(roc_auc_score(y[test], model.decision_function(x[test])))
            for column in range(x.shape[1]):
                permuted = x[test].copy()
                permuted[:, column] = generator.permutation(permuted[:, column])
                lost[column] += (aucs[-1] - roc_auc_score(y[test], model.decision_function(permuted))) / FOLDS
    most = [i for i in np.argsort(-lost, kind="stable")[:NAMED] if lost[i] > 0]
    return Score(
        float(np.mean(aucs)),
        "AUC lost without: " + ", ".join(f"{reference.names[i]} {lost[i]:.3f}" for i in most) if most else None,
    )


METHODS = {"pca_reconstruction": pca_reconstruction, "correlation": correlation, "domain_classifier": domain_classifier}


def _bounded(rows: Array) -> Array:
    """At most `CLASSIFIER_ROWS`, the same ones in the same order whatever the order of the rows."""
    rows = rows[np.lexsort(np.nan_to_num(rows, nan=np.inf).T)]
    if len(rows) > CLASSIFIER_ROWS:
        rows = rows[np.sort(np.random.default_rng(0).permutation(len(rows))[:CLASSIFIER_ROWS])]
    return rows
