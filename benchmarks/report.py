"""The results of a run as rows with targets: one table, one JSON file, one picture. What is measured is in the other files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.false_alarms import CHANGES, ROWS

OTHERS = {
    "nannyml": "NannyML",
    "evidently": "Evidently",
    "p < 0.05": "KS, χ² p < 0.05",
    "p Bonferroni": "p < 0.05 / 13",
    "PSI > 0.2": "PSI > 0.2",
    "scan": "scan and sum",
}
NOTES = (
    "Rows x 25: 20 numeric and 5 categorical columns, a reference of 100,000 rows, 2 cores; from Parquet files to the "
    "columns that drifted; the best of several runs (Evidently: one). The reference is ready, and a "
    "first call made, before the clock starts.",
    "ours: profile, read it back, score it by every default method, judge by calibrated thresholds. "
    "NannyML: pandas.read_parquet, UnivariateDriftCalculator.calculate with KS and chi2, one chunk. "
    'Evidently: pandas.read_parquet, DataDriftPreset(method="psi"). scan and sum: DuckDB, the sum of every column.',
    "Flights: days with any alarm on 13 features. Defaults of NannyML: Jensen-Shannon, mean + 3 standard deviations of the "
    "reference's days; of Evidently: Wasserstein or Jensen-Shannon >= 0.1. NannyML judges one shuffle, Evidently a few days of "
    "it: the JSON's `detail` says how many.",
    "One feature moved (every value) or reweighted (the same values, other shares) by so many standard deviations: days on "
    "which it is found, for the feature where that is rarest.",
)


@dataclass(frozen=True)
class Row:
    """A line of the table. `target` is what `ours` must not exceed, or must reach."""

    what: str
    unit: Literal["s", "MB", "x", "%"]
    ours: float
    target: float | None = None
    is_limit: bool = True
    others: dict[str, float] = field(default_factory=dict)
    detail: dict[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return "met" if (self.ours <= self.target if self.is_limit else self.ours >= self.target) else "MISSED"

    def formatted(self, value: float | None) -> str:
        if value is None:
            return ""
        match self.unit:
            case "s":
                return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
            case "MB":
                return f"{value:,.0f} MB"
            case "x":
                return f"{value:.1f} x" if value < 20 else f"{value:.0f} x"
        return f"{100 * value:.1f} %"

    def cells(self) -> list[str]:
        sign = "≤" if self.is_limit else "≥"
        target = (
            ""
            if self.target is None
            else f"{sign} {self.target:.0%}"
            if self.unit == "%"
            else f"{sign} {self.formatted(self.target)}"
        )
        others = [self.formatted(self.others.get(name)) for name in OTHERS]
        return [self.what, self.formatted(self.ours), target, self.verdict, *others]


Speeds = Mapping[tuple[str, int], Mapping[str, float]]  # (contender, million rows) -> seconds, peak_mb


def speed_rows(speeds: Speeds) -> list[Row]:
    sizes = sorted({millions for _, millions in speeds})
    rows = []
    limits = {1: (0.3, None, 9.0, 60.0), 5: (1.2, 600.0, 15.0, 90.0)}
    for millions in sizes:
        at = {contender: found for (contender, size), found in speeds.items() if size == millions}
        mine = at.pop("ours")
        seconds, memory, *faster = limits.get(millions, (None, None))
        day = f"{millions} M rows x 25"
        rows.append(Row(f"{day}: time", "s", mine["seconds"], seconds, True, {n: f["seconds"] for n, f in at.items()}))
        rows.append(Row(f"{day}: peak memory", "MB", mine["peak_mb"], memory, True, {n: f["peak_mb"] for n, f in at.items()}))
        for peer, target in zip(("nannyml", "evidently"), faster, strict=False):
            if peer in at:
                ratio = at[peer]["seconds"] / mine["seconds"]
                rows.append(Row(f"{day}: times as fast as {OTHERS[peer]}", "x", ratio, target, is_limit=False))
        rows.append(Row(f"{day}: time / scan and sum (stretch)", "x", mine["seconds"] / at["scan"]["seconds"], 4.0))
    if ("ours", 20) in speeds:
        # Linear and flat, with a tenth of room for noise; 20 M rows are four times 5 M.
        ratios = {key: speeds["ours", 20][key] / speeds["ours", 5][key] for key in ("seconds", "peak_mb")}
        rows.append(Row("20 M rows: time / time of 5 M", "x", ratios["seconds"], 4.4))
        rows.append(Row("20 M rows: peak memory / that of 5 M", "x", ratios["peak_mb"], 1.1))
    return rows


def stored_rows(seconds: Mapping[str, float]) -> list[Row]:
    return [
        Row("365 days x 25 x 3 windows x all methods, from profiles", "s", seconds["rescore"], 2.0),
        Row("calibrating 13 columns from 59 days, 2 windows", "s", seconds["calibrate"], 3.0),
    ]


def alarm_rows(shares: Sequence[Mapping[str, object]]) -> list[Row]:
    def row(measure: str, what: str, target: float | None, is_limit: bool) -> Row:
        of = {share["contender"]: share for share in shares if share["measure"] == measure}
        values = {str(name): float(share["share"]) for name, share in of.items()}  # type: ignore[arg-type]
        return Row(what, "%", values.pop("ours"), target, is_limit, values, {str(n): str(s["detail"]) for n, s in of.items()})

    quiet = [row(f"quiet days, {rows} rows", f"flights shuffled, {rows} rows a day: false alarms", 0.02, True) for rows in ROWS]
    weekly = "920 rows; windows of 1 and 7 days"
    targets = {("moved", 0.25): 0.9, ("moved", 0.5): 0.99}
    found = [
        row(f"{way} by {size:g} σ", f"one feature {way} by {size:g} σ, 920 rows: found", targets.get((way, size)), False)
        for way, size in CHANGES
    ]
    return [
        *quiet,
        row(f"quiet days, {weekly}", f"flights shuffled, {weekly}: false alarms", 0.02, True),
        row("real days", "flights of January and February as they were: alarms", 0.05, True),
        *found,
    ]


def table(rows: Sequence[Row]) -> str:
    """Markdown that also reads as plain text."""
    lines = [["", "ours", "target", "", *OTHERS.values()], *(row.cells() for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    rows = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines]
    rows.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(rows)


def write_json(rows: Sequence[Row], machine: Mapping[str, object], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine, "notes": NOTES, "rows": [asdict(row) | {"verdict": row.verdict} for row in rows]}
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
