"""The picture of a run: how long a day takes, how often quiet days alarm, how often a shift is found."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import OTHERS, Row

COLOURS = {
    "ours": "#1a5276", "scan": "#aab7b8", "nannyml": "#dc7633", "evidently": "#8e44ad",
    "p < 0.05": "#b03a2e", "p Bonferroni": "#e59866", "PSI > 0.2": "#7d6608",
}  # fmt: skip


def plot(rows: Sequence[Row], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = {
        "Seconds a day (2 cores, Parquet in)": {row.what.split(" rows")[0]: row for row in rows if row.what.endswith(": time")},
        "Flights, % of days with an alarm": {
            row.what.split(": ")[0].removeprefix("flights ").replace(", ", ",\n").replace(" as ", "\nas "): row
            for row in rows if row.what.startswith("flights") and "windows" not in row.what
        },
        "One feature changed: % of days it is found": {
            row.what.split(", ")[0].removeprefix("one feature "): row for row in rows if row.what.startswith("one feature")
        },
    }  # fmt: skip
    figure, axes = plt.subplots(1, 3, figsize=(15, 5), width_ratios=[2, 4, 4])
    for axis, (title, shown) in zip(axes, panels.items(), strict=True):
        _bars(axis, title, shown)
    axes[0].set_yscale("log")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS.values()]
    figure.legend(handles, [OTHERS.get(name, name) for name in COLOURS], loc="lower center", ncols=len(COLOURS), frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _bars(axis, title: str, shown: dict[str, Row]) -> None:  # type: ignore[no-untyped-def]
    """A group of bars per row, a bar per contender, a line at the target."""
    for place, row in enumerate(shown.values()):
        values = {"ours": row.ours} | row.others
        held = [name for name in COLOURS if name in values]
        scale, width = (100 if row.unit == "%" else 1), 0.84 / len(held)
        for number, name in enumerate(held):
            at = place - 0.42 + (number + 0.5) * width
            axis.bar(at, scale * values[name], width, color=COLOURS[name])
            axis.text(at, scale * values[name], f"{scale * values[name]:.3g}", ha="center", va="bottom", fontsize=6)
        if row.target is not None:
            axis.hlines(scale * row.target, place - 0.45, place + 0.45, color="black", linewidth=1)
    axis.set_title(f"{title}; line: target", fontsize=10)
    axis.set_xticks(range(len(shown)), list(shown), fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
