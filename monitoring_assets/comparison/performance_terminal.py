"""An estimate of performance as text for a terminal and as JSON for programs."""

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from monitoring_assets.comparison.performance_report import PerformanceReport
from monitoring_assets.comparison.terminal import number, plain, print_table
from monitoring_assets.wording import printable

if TYPE_CHECKING:
    from rich.table import Table


def print_performance(report: PerformanceReport) -> None:
    """The table, then the notes."""
    print_table(_metric_table(report), _notes_below(report))


def as_json(report: PerformanceReport) -> str:
    """Verdict and metrics; what is nan is null."""
    content = {
        "verdict": report.verdict,
        "is_judged": report.is_judged,
        "worse": report.worse,
        "method": report.method,
        "reference": {"name": report.names[0], "metrics": _rows(report.reference)},
        "current": {"name": report.names[1], "estimated": _rows(report.estimated), "realised": _rows(report.realised)},
        "notes": report.notes,
    }
    return json.dumps(content, indent=2, allow_nan=False)


def _rows(table: pd.DataFrame | None) -> list[dict[str, Any]] | None:
    return None if table is None else [{str(k): plain(v) for k, v in row.items()} for row in table.to_dict("records")]


def _metric_table(report: PerformanceReport) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("metric")
    columns = ["reference", "estimated", "95 % interval", *(["realised"] if report.realised is not None else [])]
    for name in columns:
        table.add_column(name, justify="right")
    table.add_column("", overflow="fold")
    worse = set(report.worse)
    for place, row in enumerate(report.estimated.itertuples()):
        shown = [number(report.reference["value"][place]), number(row.value), f"{number(row.lower)} to {number(row.upper)}"]
        shown += [number(report.realised["value"][place])] if report.realised is not None else []
        verdict = Text("worse", "bold red") if row.metric in worse else Text(printable(_not_judged(row)))
        table.add_row(str(row.metric), *map(Text, shown), verdict)
    return table


def _not_judged(row: Any) -> str:
    return f"not judged: {row.reason}" if pd.isna(row.value) else ""


def _notes_below(report: PerformanceReport) -> list[str]:
    rows = report.estimated["effective_rows"].iloc[0]
    lines = ["", f"{report.verdict}: {report.names[1]} against {report.names[0]}"]
    lines += [f"estimated by {report.method} from {rows:,.0f} labelled rows of the reference (of equal weight)"]
    if report.realised is not None:
        lines += [f"realised by the {report.realised['effective_rows'].iloc[0]:,.0f} rows of the current table that have labels"]
    return [printable(line) for line in [*lines, *report.notes]]
