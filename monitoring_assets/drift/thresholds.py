"""From a score to a severity: calibrated cuts that depend on the day's rows, or the constant cuts of a spec.

What counts as a practical effect, how a method's score grows with the effect, and how cuts are applied belong here. How the
parameters of calibrated cuts are estimated from a baseline is in `calibration.py`; what a whole day's severities amount to is
in `verdicts.py`.

All methods are judged on one scale, the *effect*: the shift of a normal feature, in standard deviations, that would have the
score, from the closed forms. PSI and χ² grow with its square; scores that cannot exceed 1 are stretched, so that a cut always
stays attainable.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from monitoring_assets.drift.distances import Array
from monitoring_assets.monitor_spec import SEVERITIES, SeverityLevels

CutKey = tuple[str | None, str, int, str]  # segment, feature, window_days, reference


@dataclass(frozen=True)
class Scale:
    """How a method's score relates to the effect, and which scores are a minor, moderate and severe change in practice."""

    growth: Literal["linear", "square", "square per row", "share", "affinity", "auc"]
    practical: tuple[float, float, float]


# The score of a normal feature that moved by 0.1, 0.25 and 0.5 of its standard deviation, from the closed forms; half of
# Cohen's "small" effect never alarms at any row count. Missing and new rows: a share of the day that anybody would investigate.
# χ² per row is Cohen's w²; Cramér–von Mises is ∫ (F − G)² dF. Correlations: Cohen's "small" q is 0.1, a difference of Fisher's z.
# PCA reconstruction is a relative change of error, without a closed form; AUC is Φ(d / √2).
SCALES: dict[str, Scale] = {
    "psi": Scale("square", (0.01, 0.06, 0.24)),
    "kl": Scale("square", (0.005, 0.031, 0.125)),
    "chi2": Scale("square per row", (0.01, 0.06, 0.24)),
    "cramer_von_mises": Scale("square", (0.0009, 0.0057, 0.022)),
    "ks": Scale("share", (0.04, 0.1, 0.2)),
    "tv": Scale("share", (0.04, 0.1, 0.2)),
    "linf": Scale("share", (0.02, 0.05, 0.1)),
    "js": Scale("affinity", (0.042, 0.106, 0.21)),
    "hellinger": Scale("affinity", (0.035, 0.088, 0.176)),
    "missingness": Scale("share", (0.01, 0.05, 0.1)),
    "new_category": Scale("share", (0.01, 0.05, 0.1)),
    "wasserstein": Scale("linear", (0.1, 0.25, 0.5)),
    "pca_reconstruction": Scale("linear", (0.05, 0.125, 0.25)),
    "correlation": Scale("linear", (0.1, 0.25, 0.5)),
    "domain_classifier": Scale("auc", (0.528, 0.57, 0.638)),
}
# Moderate and severe must also be this far beyond the calibrated threshold, in effects: on a small or a restless feature every
# alarm would else be severe at once.
MULTIPLES = (1.0, 1.5, 2.0)
# Bounded scores are taken to stay this far below 1, where their effect would be infinite.
ALMOST_ONE = 1 - 1e-9


def to_effect(method: str, scores: Array, effective_rows: Array | float = 1.0) -> Array:
    """Scores on the common scale. `effective_rows` is n N / (n + N); only χ² needs it.

    Examples
    --------
    >>> to_effect("psi", np.array([0.04])).round(3), to_effect("ks", np.array([0.3829])).round(3)
    (array([0.2]), array([1.]))
    """
    from scipy import special

    scores = np.clip(np.asarray(scores, float), 0, None)
    match SCALES[method].growth:
        case "square":
            return np.sqrt(scores)
        case "square per row":
            return np.sqrt(scores / effective_rows)
        case "share":  # KS = 2 Φ(d / 2) − 1
            return 2 * special.ndtri((1 + np.minimum(scores, ALMOST_ONE)) / 2)
        case "affinity":  # Hellinger = √(1 − exp(−d² / 8)); JS behaves like it, up to a factor
            return np.sqrt(-8 * np.log1p(-(np.minimum(scores, ALMOST_ONE) ** 2)))
        case "auc":  # Φ(d / √2); below 1/2 nothing distinguishes them
            return np.sqrt(2) * special.ndtri(np.clip(scores, 0.5, ALMOST_ONE))
    return scores


def from_effect(method: str, effects: Array, effective_rows: Array | float = 1.0) -> Array:
    """The scores that have these effects; the inverse of `to_effect`."""
    from scipy import special

    effects = np.asarray(effects, float)
    match SCALES[method].growth:
        case "square":
            return effects**2
        case "square per row":
            return effects**2 * effective_rows
        case "share":
            return np.minimum(2 * special.ndtr(effects / 2) - 1, ALMOST_ONE)
        case "affinity":
            return np.minimum(np.sqrt(-np.expm1(-(effects**2) / 8)), ALMOST_ONE)
        case "auc":
            return np.minimum(special.ndtr(effects / np.sqrt(2)), ALMOST_ONE)
    return effects


@dataclass(frozen=True)
class CalibratedThreshold:
    """The parameters of one score's threshold, as `calibration.calibrate` estimates them.

    `noise` (G,) is the effect that sampling noise alone exceeds at the allowed rate, at `noise_rows` (G,) effective rows;
    `day_to_day` the effect that the baseline's own restlessness exceeds at that rate, at any number of rows, and `by_days` (L,)
    the same of windows in which only 1, 2, … L days have rows.
    """

    method: str
    noise_rows: Array
    noise: Array
    day_to_day: float
    by_days: Array | None = None

    def cuts(self, effective_rows: Array, days: Array | None = None) -> Array:
        """Scores that must be exceeded for minor, moderate and severe (3, D), at n N / (n + N) effective rows (D,).

        `days` (D,) is how many equal days would give the window's rows; all of the window's unless given.
        """
        effective = np.maximum(effective_rows, 0.5)
        calibrated = np.sqrt(self._noise_at(effective) ** 2 + self._day_to_day_at(days) ** 2)
        levels = zip(MULTIPLES, SCALES[self.method].practical, strict=True)
        # The practical cut of χ² is per row, so it is put on the effect scale as one row's.
        effects = [np.maximum(times * calibrated, to_effect(self.method, np.array(floor))) for times, floor in levels]
        return from_effect(self.method, np.stack(effects), effective)

    def _day_to_day_at(self, days: Array | None) -> Array | float:
        if days is None or self.by_days is None:
            return self.day_to_day
        return np.interp(days, np.arange(1, len(self.by_days) + 1), self.by_days)

    def _noise_at(self, effective_rows: Array) -> Array:
        """Between simulated sizes straight in logarithms, beyond them ∝ 1 / √rows, which is its limit."""
        inside = np.clip(effective_rows, self.noise_rows[0], self.noise_rows[-1])
        logs = np.interp(np.log(inside), np.log(self.noise_rows), np.log(np.maximum(self.noise, 1e-12)))
        return np.exp(logs) * np.sqrt(inside / effective_rows)


def read_thresholds(table: pd.DataFrame) -> dict[CutKey, dict[str, CalibratedThreshold]]:
    """The rows of the table `thresholds` of one baseline: by what is compared, and then by method."""
    found: dict[CutKey, dict[str, CalibratedThreshold]] = {}
    for row in table.itertuples():
        segment = row.segment if isinstance(row.segment, str) else None
        found.setdefault((segment, row.feature, int(row.window_days), row.reference), {})[row.method] = CalibratedThreshold(
            row.method,
            np.asarray(row.noise_rows, float),
            np.asarray(row.noise, float),
            float(row.day_to_day),
            np.asarray(row.day_to_day_by_days, float),
        )
    return found


@dataclass(frozen=True)
class Judgement:
    """`severities` (D,) of 'ok' … 'severe', or None where there is no score or no threshold; `thresholds` (D,) is what counts as
    drifted; `excess` (D,) how many times its threshold the change is: 1 at the threshold, nan where there is none."""

    severities: np.ndarray
    thresholds: Array
    excess: Array


def judgement(
    method: str,
    scores: Array,
    p_values: Array,
    effective_rows: Array,
    levels: SeverityLevels | None,
    calibrated: CalibratedThreshold | None = None,
    days: Array | None = None,
) -> Judgement:
    """Severities of one method's scores (D,): by constant `levels` where given, else by the calibrated threshold.

    A score above a cut reaches it; constant levels of chi2 are p-values, and a p-value below reaches them. A score without any
    threshold has no severity: it informs, and is never 'ok'. `effective_rows` (D,) is n N / (n + N), `days` (D,) how many equal
    days would give the window's rows.

    Examples
    --------
    >>> cuts = SeverityLevels(minor=0.1, moderate=0.2, severe=0.3)
    >>> found = judgement("psi", np.array([0.05, 0.4, np.nan]), np.full(3, np.nan), np.full(3, 920), cuts)
    >>> found.severities.tolist(), found.excess.round(2).tolist()
    (['ok', 'severe', None], [0.71, 2.0, nan])
    """
    if levels is not None:
        cuts = np.repeat([[levels.minor], [levels.moderate], [levels.severe]], len(scores), axis=1)
        reached = p_values < cuts if method == "chi2" else scores > cuts
    else:
        cuts = calibrated.cuts(effective_rows, days) if calibrated else np.full((3, len(scores)), np.nan)
        reached = scores > cuts
    severities = np.array(SEVERITIES, dtype=object)[reached.sum(axis=0)]
    severities[np.isnan(scores) | np.isnan(cuts[0])] = None
    is_p_value = method == "chi2" and levels is not None
    return Judgement(severities, cuts[0], _p_excess(p_values, cuts[0]) if is_p_value else excess(method, scores, cuts[0]))


def reasons_without_threshold(method: str, scores: Array, found: Judgement, *, calibrated: bool) -> np.ndarray:
    """Why scores (D,) that are defined have no severity; None for all others."""
    why = (
        "no threshold could be calibrated from the baseline"
        if calibrated
        else f"{method} only informs, unless `drift.thresholds` names its cuts"
    )
    return np.where(~np.isnan(scores) & pd.isna(found.severities), f"not judged: {why}", np.array(None))


def excess(method: str, scores: Array, thresholds: Array) -> Array:
    """How many times its threshold an effect is: 1 at the threshold, 2 twice as far; for ranking what moved most."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(to_effect(method, scores) / to_effect(method, thresholds))


def _p_excess(p_values: Array, thresholds: Array) -> Array:
    """The same of p-values, as standard normal deviates."""
    from scipy import special

    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(special.ndtri(np.maximum(p_values, 1e-300)) / special.ndtri(thresholds))
