"""The costs of a monitor as text for a terminal. They are measured in `retention/costs.py`."""

from collections.abc import Iterator

from monitoring_assets.retention.costs import CostReport

UNITS = ("B", "kB", "MB", "GB", "TB")
HEADINGS = ("month", "rows", "source", "raw rows", "profiles", "results", "seconds")


def as_lines(report: CostReport, retain_days: int | None) -> Iterator[str]:
    """A line per month and their sum; then what sampling saved and what retention does or would do."""
    rows = [
        (m.month, f"{m.rows:,}", *map(size, (m.source_bytes, m.raw_bytes, m.profile_bytes, m.result_bytes)), f"{m.seconds:.1f}")
        for m in report.months
    ]
    columns = ("rows", "source_bytes", "raw_bytes", "profile_bytes", "result_bytes", "seconds")
    total = [sum(getattr(m, column) for m in report.months) for column in columns]
    rows.append(("all", f"{total[0]:,}", *map(size, total[1:5]), f"{total[5]:.1f}"))
    for row in (HEADINGS, *rows):
        yield "  ".join([f"{row[0]:7}", *(f"{cell:>10}" for cell in row[1:])])
    yield "source: files delivered; the rest: estimates of what the warehouse holds of the month now"
    yield f"baselines, thresholds and all else without a month: {size(report.other_bytes)}"
    yield from _sampling(report)
    yield from _retention(report, retain_days)


def _sampling(report: CostReport) -> Iterator[str]:
    if report.requests is None or not report.logged_rows:
        return
    spared = report.requests - report.logged_rows
    share = spared / report.requests if report.requests else 0.0
    yield (
        f"sampling: {report.logged_rows:,} rows stand for {report.requests:,.0f} requests; logging the other {share:.0%} would "
        f"store {size(spared * report.raw_bytes_per_row)} more raw rows"
    )


def _retention(report: CostReport, retain_days: int | None) -> Iterator[str]:
    if retain_days is None:
        yield "retention: raw rows are kept for ever (no `retain_days`)"
    else:
        yield f"retention: retain_days {retain_days}; the raw rows of {report.forgotten_days} days were deleted"
    for freed in report.freed:
        when = "the next daily run frees" if retain_days else f"retain_days: {freed.retain_days} would free"
        yield f"  {when} {size(freed.bytes)} of {freed.days} days"


def size(number: float) -> str:
    """Bytes as a person reads them.

    >>> size(0), size(1234), size(5_600_000_000)
    ('0 B', '1.2 kB', '5.6 GB')
    """
    for unit in UNITS[:-1]:
        if abs(number) < 1000:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} {UNITS[-1]}"
