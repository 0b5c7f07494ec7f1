"""The table `performance`: every metric of every window, segment and model version, from the pooled counts of the window's days.

A window is any number of days that end with the day it is named after. Only days whose labels count are pooled, and no metric is
ever averaged. How a window stands against the baseline is in `verdicts.py`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import pandas as pd

from monitoring_assets.ingestion.label_maturity import days_with_mature_labels, why_immature
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.performance.counting import Key, read_counts, uncounted_days, write_counts
from monitoring_assets.performance.counts import PerformanceCounts, pooled
from monitoring_assets.performance.metrics import METRICS, Measured, metrics_of, undefined
from monitoring_assets.warehouse import replace_days, table
from monitoring_assets.warehouse_tables import TABLES

# Days whose counts are in memory at once, besides those their windows reach back to.
DAYS_AT_ONCE = 31
COLUMNS = list(TABLES["performance"])


@dataclass(frozen=True)
class Window:
    """The days of one window that hold predictions, each with its counts per segment and model version, and those of them whose
    labels count."""

    last_day: date
    length: int
    counts: dict[Key, PerformanceCounts]
    counting: Collection[date]

    def of_segments(self) -> dict[str | None, "Window"]:
        """The same window of all rows, and of each segment."""
        parts: dict[str | None, dict[Key, PerformanceCounts]] = defaultdict(dict, {None: {}})
        for key, counts in self.counts.items():
            parts[key[1]][key] = counts
        return {segment: Window(self.last_day, self.length, part, self.counting) for segment, part in parts.items()}

    def of_version(self, version: str | None) -> "Window":
        """The same window of one model version's rows; None: of the rows that name none."""
        own = {key: counts for key, counts in self.counts.items() if key[2] == version}
        return Window(self.last_day, self.length, own, self.counting)

    @property
    def versions(self) -> list[str]:
        """The model versions that the log names, in order."""
        return sorted({key[2] for key in self.counts if key[2] is not None})

    @property
    def days_present(self) -> int:
        """The days with labels that count."""
        return len({day for (day, _, _), counts in self.counts.items() if counts.labelled_rows and day in self.counting})

    def total(self) -> PerformanceCounts:
        """The counts of all the window's rows whose labels count."""
        return pooled([counts for (day, _, _), counts in self.counts.items() if day in self.counting])

    @property
    def row_count(self) -> int:
        """All predictions, whether their labels count or not."""
        return sum(counts.row_count for counts in self.counts.values())


def write_performance(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> pd.DataFrame:
    """Count these days anew, and measure every window that holds one of them. Returns the rows of windows that end on the days.

    Call it inside a transaction.
    """
    reach = timedelta(days=max(spec.performance.windows_days) - 1)
    missing = uncounted_days(connection, spec, min(days) - reach, max(days))
    write_counts(connection, spec, sorted({*days, *missing}))
    later = connection.execute(
        f"SELECT DISTINCT day FROM {table(spec, 'performance')} WHERE day BETWEEN ? AND ?", [min(days), max(days) + reach]
    ).fetchall()
    touched = {day for (day,) in later if any(first <= day <= first + reach for first in days)}
    asked, parts = set(days), []
    for some in _blocks(sorted({*touched, *days})):
        measured = _measured(spec, windows(connection, spec, some))
        connection.register("measured", measured)
        replace_days(connection, table(spec, "performance"), some, "SELECT * FROM measured ORDER BY ALL")
        connection.unregister("measured")
        parts.append(measured[measured["segment"].isna() & measured["day"].isin(asked)])
    return pd.concat(parts, ignore_index=True)


def windows(
    connection: duckdb.DuckDBPyConnection,
    spec: MonitorSpec,
    days: Sequence[date],
    lengths: Sequence[int] | None = None,
    *,
    with_segments: bool = True,
) -> Iterator[Window]:
    """The windows that end on these days, of each of the lengths (the monitor's, unless given). Few days are in memory."""
    lengths = lengths or spec.performance.windows_days
    for some in _blocks(sorted(days)):
        first = some[0] - timedelta(days=max(lengths) - 1)
        counts = read_counts(connection, spec, first, some[-1], with_segments=with_segments)
        counting = set(days_with_mature_labels(connection, spec, {day for day, _, _ in counts}))
        of_day: dict[date, dict[Key, PerformanceCounts]] = defaultdict(dict)
        for key, counted in counts.items():
            of_day[key[0]][key] = counted
        for day in some:
            for length in lengths:
                reached = [day - timedelta(days=back) for back in reversed(range(length))]
                held = {key: counted for each in reached for key, counted in of_day.get(each, {}).items()}
                yield Window(day, length, held, counting)


def _blocks(days: Sequence[date]) -> Iterator[list[date]]:
    """Ordered days in groups that span few days each."""
    some: list[date] = []
    for day in days:
        if some and (day - some[0]).days >= DAYS_AT_ONCE:
            yield some
            some = []
        some.append(day)
    if some:
        yield some


def _measured(spec: MonitorSpec, found: Iterator[Window]) -> pd.DataFrame:
    rows: list[tuple[object, ...]] = []
    for window in found:
        for segment, part in window.of_segments().items():
            total = _rows_of(spec, segment, None, part)
            rows += total
            versions = part.versions
            for version in versions:
                alone = len(versions) == 1 and all(key[2] == version for key in part.counts)
                rows += _renamed(total, version) if alone else _rows_of(spec, segment, version, part.of_version(version))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"segment": "object", "model_version": "object", "reason": "object"})


def _rows_of(spec: MonitorSpec, segment: str | None, version: str | None, window: Window) -> list[tuple[object, ...]]:
    counts, last = window.total(), window.last_day
    head = (last, window.length, window.days_present, segment, version)
    tail = (window.row_count, counts.labelled_rows, counts.effective_rows)
    measured = measured_of(spec, window, counts)
    return [(*head, metric, *_rounded(measured[metric]), *tail, measured[metric].reason) for metric in METRICS[spec.task]]


def _rounded(measured: Measured) -> tuple[float, ...]:
    """Value, bound and interval, to twelve digits: the last bits of a sum are the threads', not the data's."""
    ends = (float(f"{end:.12g}") for end in measured.interval)
    return float(f"{measured.value:.12g}"), float(f"{measured.error_bound:.3g}"), *ends


def _renamed(rows: Sequence[tuple[object, ...]], version: str) -> list[tuple[object, ...]]:
    place = COLUMNS.index("model_version")
    return [(*row[:place], version, *row[place + 1 :]) for row in rows]


def measured_of(spec: MonitorSpec, window: Window, counts: PerformanceCounts) -> dict[str, Measured]:
    """Every metric of a window's pooled counts, or why there is none yet."""
    if counts.labelled_rows:
        return metrics_of(counts, spec.task)
    if not window.row_count or spec.label is None:
        return undefined(spec.task, "0 predictions")
    held_back = any(counted.labelled_rows for counted in window.counts.values())
    if held_back and window.last_day not in window.counting:
        return undefined(spec.task, f"not counted yet: {why_immature(spec.label, window.last_day)}")
    return undefined(spec.task, f"no labels yet, due {spec.label.delay_days} days after the prediction")
