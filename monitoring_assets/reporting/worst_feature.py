"""The picture of a day's worst feature: its window beside the baseline, on at most twelve bins."""

import numpy as np

from monitoring_assets.measuring.histograms import Histogram
from monitoring_assets.reporting.pictures import overlaid_shares

BARS = 12


def worst_feature_picture(column: str, baseline: Histogram, window: Histogram, place: int) -> str:
    """Markdown with the shares of row `place` of `window` against the whole baseline; missing rows are the last bar."""
    reference = baseline.total()
    support = np.union1d(reference.support, window.support)
    before, now = reference.on(support)[0], window.on(support)[place]
    held = (before > 0) | (now > 0)  # what only other days hold is not shown
    support, before, now = support[held], before[held], now[held]
    if window.kind == "numeric":
        # Equal-width bars over what both hold: what a person expects of a histogram.
        finite = support[np.isfinite(support)]
        edges = np.linspace(finite.min(), finite.max(), BARS + 1) if len(finite) else np.array([0.0, 1.0])
        bars = np.clip(np.searchsorted(edges, support, side="right") - 1, 0, len(edges) - 2)
        names = [f"{edge:.4g}" for edge in edges[:-1]]
    else:
        order = np.argsort(-(before / max(before.sum(), 1) + now / max(now.sum(), 1)), kind="stable")
        bars = np.full(len(support), BARS - 1)
        bars[order[: BARS - 1]] = np.arange(min(BARS - 1, len(support)))
        names = [str(support[index]) for index in order[: BARS - 1]] + (["others"] if len(support) >= BARS else [])
    shares = []
    for counts, missing in ((before, reference.missing[0]), (now, window.missing[place])):
        grouped = np.append(np.bincount(bars, weights=counts, minlength=len(names))[: len(names)], missing)
        shares.append(grouped / max(grouped.sum(), 1))
    return overlaid_shares(column, [*names, "missing"], shares[0], shares[1])
