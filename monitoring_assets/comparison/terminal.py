"""A comparison of two tables as text for a terminal and as JSON for programs; the page is `page.py`."""

import json
import math
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from monitoring_assets.comparison.drift_report import DriftReport
from monitoring_assets.wording import listed, printable

if TYPE_CHECKING:
    from rich.table import Table

# Quiet features listed after the drifted ones.
QUIET_SHOWN = 30
COLOURS = {"severe": "bold red", "moderate": "red", "minor": "yellow", "ok": "green"}

T = TypeVar("T")


def shown_progress(columns: Iterable[T], total: int) -> Iterable[T]:
    """The columns as they come; on a terminal with a bar on standard error, which goes when they are done."""
    if not sys.stderr.isatty():
        return columns
    from rich.console import Console
    from rich.progress import track

    return track(columns, "Comparing columns", total=total, console=Console(stderr=True), transient=True)


def print_report(report: DriftReport) -> None:
    """The table, then the notes."""
    print_table(feature_table(report), notes_below(report))


def print_table(table: "Table", below: Iterable[str]) -> None:
    """A table and the lines below it. As wide as the terminal; 100 columns where there is none."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 100
    console.print(table)
    for line in below:
        console.print(line, markup=False)


def feature_table(report: DriftReport) -> "Table":
    """One line per feature, its worst method, worst first; quiet ones up to `QUIET_SHOWN`."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("feature", overflow="fold", max_width=30)
    for name in ("kind", "change", "worst method"):
        table.add_column(name)
    for name in ("score", "threshold", "× threshold"):
        table.add_column(name, justify="right")
    table.add_column("severity", overflow="fold", max_width=40)
    for row in report.features.head(len(report.drifted) + QUIET_SHOWN).itertuples():
        numbers = [Text(number(value)) for value in (row.score, row.threshold, row.excess)]
        severity = Text(row.severity, COLOURS[row.severity]) if row.severity else Text(f"not judged: {row.reason}")
        table.add_row(Text(printable(row.feature)), row.kind, row.change or "", row.method, *numbers, severity)
    return table


def notes_below(report: DriftReport) -> list[str]:
    """The lines below the table: the verdict, the types, what was left out, how thresholds were set."""
    hidden = len(report.features) - len(report.drifted) - QUIET_SHOWN
    lines = [f"... and {hidden} more, not drifted"] if hidden > 0 else []
    lines += [
        "",
        f"{report.verdict}: {report.names[1]} ({report.rows[1]:,} rows) against {report.names[0]} ({report.rows[0]:,} rows)",
    ]
    for kind in ("numeric", "categorical"):
        names = [column.name for column in report.columns if column.kind == kind]
        lines += [f"{kind}: {listed(names)}"] if names else []
    lines += [f"left out: {name!r}, {why}" for name, why in report.left_out.items()]
    return [printable(line) for line in [*lines, *report.notes, f"Thresholds: {report.thresholds}."]]


def as_json(report: DriftReport) -> str:
    """Verdict, features and scores; what is nan or infinite is null."""
    rows = report.scores.to_dict("records")
    content = {
        "verdict": report.verdict,
        "is_drifted": bool(report.drifted),
        "is_judged": report.is_judged,
        "drifted_features": report.drifted,
        "reference": {"name": report.names[0], "rows": report.rows[0]},
        "current": {"name": report.names[1], "rows": report.rows[1]},
        "schema": report.schema,
        "columns": [{"feature": column.name, "kind": column.kind, "types": column.types} for column in report.columns],
        "left_out": report.left_out,
        "notes": report.notes,
        "false_alarm_rate": report.false_alarm_rate,
        "thresholds": report.thresholds,
        "scores": [{name: plain(value) for name, value in row.items()} for row in rows],
    }
    return json.dumps(content, indent=2, allow_nan=False)


def number(value: float) -> str:
    """Three significant digits; a dash where undefined.

    >>> number(0.12345), number(12345.6), number(float("nan"))
    ('0.123', '12,346', '–')
    """
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def plain(value: Any) -> Any:
    """A value as JSON has it: what is nan or infinite is None."""
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain
