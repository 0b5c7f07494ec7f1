"""What a baseline teaches about sound data: missing shares, ranges, categories, volume. From profiles; no raw rows."""

from collections.abc import Mapping

import numpy as np

from monitoring_assets.profiling.histograms import Histogram, Key
from monitoring_assets.quality.expectations import ReferenceFacts


def reference_facts(baseline: Mapping[Key, Histogram]) -> ReferenceFacts:
    """The facts of a baseline's daily histograms over all rows. A constant or empty column teaches nothing about values."""
    missing, minimum, maximum, categories, volumes = {}, {}, {}, {}, []
    for (segment, column), histogram in baseline.items():
        if segment is not None:
            continue
        rows = histogram.rows
        volumes.append(float(np.median(histogram.row_count)))  # a day's volume is what was logged, whatever it stands for
        missing[column] = float(histogram.missing.sum() / rows.sum()) if rows.sum() else 0.0
        if histogram.kind == "categorical":
            # Buckets of rare categories have no names: what is in them cannot be told from a new one.
            if histogram.is_exact:
                categories[column] = [str(category) for category in histogram.support]
        elif np.isfinite(histogram.minimum).any():
            low, high = float(np.nanmin(histogram.minimum)), float(np.nanmax(histogram.maximum))
            if low < high:
                minimum[column], maximum[column] = low, high
    return ReferenceFacts(missing, minimum, maximum, categories, max(volumes, default=None))
