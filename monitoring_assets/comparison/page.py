"""A comparison of two tables as one HTML file: what drifted on top, then both distributions of every feature.

The page needs no network and runs no script. Every text from data is escaped. `pictures.py` draws for Markdown on white ground;
these pictures take their colours from the page, so that they are readable on light and dark.
"""

from html import escape
from pathlib import Path

import numpy as np

from monitoring_assets.comparison.compare import EXACT_WHOLE
from monitoring_assets.comparison.drift_report import DriftReport
from monitoring_assets.comparison.terminal import number
from monitoring_assets.errors import ComparisonImpossible
from monitoring_assets.measuring.histograms import Histogram
from monitoring_assets.measuring.kernel import BUCKET_PREFIX
from monitoring_assets.wording import listed, printable

# Bars of a number's histogram, and the share of rows beyond either end that the outer bars hold.
BARS, TAIL = 30, 0.005
# Categories drawn one by one, the commonest of both sides.
CATEGORIES = 11
WIDTH, HEIGHT, LEFT, ROW = 460, 190, 40, 22
# Where the bars of categories start, and the room for the shares behind them.
START, BEHIND = 150, 106
LABEL_LENGTH = 22

STYLE = """
:root { color-scheme: light dark; --ground: #fbfbfc; --card: #fff; --text: #1c2733; --soft: #5b6875; --line: #dfe4ea;
  --reference: #7c8ea3; --current: #d9541e; --severe: #b42318; --moderate: #b54708; --minor: #8a6100; --ok: #1f7a4d }
@media (prefers-color-scheme: dark) { :root { --ground: #12171d; --card: #1a2129; --text: #e6ebf0; --soft: #9aa7b4;
  --line: #2d3742;
  --reference: #8fa3ba; --current: #ff8a50; --severe: #ff8377; --moderate: #ffa45c; --minor: #e8c35a; --ok: #6fd19c } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 28px 24px 60px; max-width: 1120px; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 26px; margin: 0 } h2 { font-size: 18px; margin: 36px 0 12px }
h3 { font-size: 15px; margin: 0; overflow-wrap: anywhere }
p { margin: 6px 0; color: var(--soft); overflow-wrap: anywhere }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--card) }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: 6px 12px; text-align: left; border-bottom: 1px solid var(--line); overflow-wrap: anywhere }
tr:last-child td { border: 0 }
th { font-weight: 600; color: var(--soft); font-size: 13px; white-space: nowrap } 
.n { text-align: right } .n, .k { white-space: nowrap }
a { color: inherit } .severe, .moderate, .minor, .ok { font-weight: 600 }
.severe { color: var(--severe) } .moderate { color: var(--moderate) } .minor { color: var(--minor) } .ok { color: var(--ok) }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr)); gap: 16px }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px; min-width: 0 }
.card p { font-size: 13px; margin: 2px 0 8px } svg { width: 100%; height: auto; display: block }
svg text { fill: var(--soft); font-size: 11px } .axis { stroke: var(--line) }
.reference { fill: var(--reference); fill-opacity: .55 } .current { fill: var(--current); fill-opacity: .5 }
.reference.line { stroke: var(--reference) } .current.line { stroke: var(--current) } .line { fill: none; stroke-width: 1.6 }
.key { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin: 0 5px 0 12px }
.key.reference { background: var(--reference) } .key.current { background: var(--current) }
"""


def write_page(path: Path, report: DriftReport) -> None:
    """Write the page of a comparison; it replaces what is there.

    Raises
    ------
    ComparisonImpossible
        When the file cannot be written.
    """
    try:
        path.write_text(page(report), encoding="utf-8")
    except OSError as error:
        raise ComparisonImpossible(f"the page {path} cannot be written: {error.strerror}") from None


def page(report: DriftReport) -> str:
    """The page as text."""
    features = list(report.features["feature"])
    quiet = [name for name in features if name not in set(report.drifted)]
    state = "ok" if report.is_judged and not report.drifted else "severe"
    title = f"Drift: {report.verdict}"
    sections = []
    for heading, names in (("Drifted", report.drifted), ("Not drifted", quiet)):
        # Columns of one table only, and all features together, have no distributions to draw.
        drawn = [name for name in names if name in report.histograms]
        if drawn:
            cards = "".join(_card(report, name, features.index(name)) for name in drawn)
            sections.append(f'<h2>{heading}</h2><div class="cards">{cards}</div>')
    types = [
        f"{kind}: {listed([column.name for column in report.columns if column.kind == kind], 40)}"
        for kind in ("numeric", "categorical")
        if any(column.kind == kind for column in report.columns)
    ]
    left_out = [f"left out: {name}, {why}" for name, why in report.left_out.items()]
    notes = "".join(
        f"<p>{_text(line)}</p>" for line in [*types, *left_out, *report.notes, f"Thresholds are {report.thresholds}."]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>"
        f'<h1 class="{state}">{_text(report.verdict[:1].upper() + report.verdict[1:])}</h1>'
        f'<p><span class="key reference" style="margin-left:0"></span>'
        f"reference: {_text(report.names[0])}, {report.rows[0]:,} rows"
        f'<span class="key current"></span>current: {_text(report.names[1])}, {report.rows[1]:,} rows</p>'
        f"<h2>Features, worst first</h2>{_table(report)}{''.join(sections)}<h2>How to read this</h2>{notes}</body></html>"
    )


def _table(report: DriftReport) -> str:
    heads = ("feature", "kind", "change", "worst method", "score", "threshold", "times threshold", "severity")
    rows = []
    for place, row in enumerate(report.features.itertuples()):
        name = f'<a href="#f{place}">{_text(row.feature)}</a>' if row.feature in report.histograms else _text(row.feature)
        numbers = "".join(f'<td class="n">{number(value)}</td>' for value in (row.score, row.threshold, row.excess))
        severity = (
            f'<td class="{row.severity}">{row.severity}</td>' if row.severity else f"<td>not judged: {_text(row.reason)}</td>"
        )
        rows.append(
            f'<tr><td>{name}</td><td class="k">{row.kind}</td>'
            f"<td>{_text(row.change or '')}</td>"
            f"<td>{row.method}</td>{numbers}{severity}</tr>"
        )
    head = "".join(
        f'<th class="{"n" if name in {"score", "threshold", "times threshold"} else ""}">{name}</th>' for name in heads
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _card(report: DriftReport, name: str, place: int) -> str:
    rows = report.scores[report.scores["feature"] == name].dropna(subset=["score"])
    scores = ", ".join(f"{row.method} {number(row.score)} ({number(row.threshold)})" for row in rows.itertuples())
    reference, current = report.histograms[name]
    severity = report.features["severity"][place]
    mark = f' · <span class="{severity}">{severity}</span>' if severity else ""
    is_time = any(column.name == name and column.types[0].startswith(("DATE", "TIMESTAMP")) for column in report.columns)
    picture = _numbers(reference, current, is_time) if reference.kind == "numeric" else _categories(reference, current)
    return f'<div class="card" id="f{place}"><h3>{_text(name)}{mark}</h3><p>{_text(scores) or "not judged"}</p>{picture}</div>'


def _numbers(reference: Histogram, current: Histogram, is_time: bool) -> str:
    """Two overlaid histograms of equal bars; what lies beyond the ends is in the outer bars, missing rows below."""
    edges = _edges(reference, current)
    sides = {"reference": _on_bars(reference, edges), "current": _on_bars(current, edges)}
    tallest = max(float(shares.max(initial=0.0)) for shares in sides.values()) or 1.0
    ground, step = HEIGHT - 24, (WIDTH - LEFT) / (len(edges) - 1)
    parts = [_axis(ground), f'<text x="0" y="14">{tallest:.1%}</text><text x="0" y="{ground}">0</text>']
    for side, shares in sides.items():
        heights = ground - shares / tallest * (ground - 8)
        points = " ".join(f"{LEFT + step * (i + end):.1f},{y:.1f}" for i, y in enumerate(heights) for end in (0, 1))
        parts.append(f'<polygon class="{side}" points="{LEFT},{ground} {points} {WIDTH},{ground}"/>')
        parts.append(f'<polyline class="{side} line" points="{points}"/>')
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        value = _axis_label(edges[0] * (1 - share) + edges[-1] * share, is_time)
        parts.append(f'<text x="{LEFT + share * (WIDTH - LEFT):.0f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{value}</text>')
    gone = [float(side.missing[0] / side.rows[0]) if side.rows[0] > 0 else 0.0 for side in (reference, current)]
    missing = f"<p>missing: {gone[0]:.2%} of the reference, {gone[1]:.2%} now</p>" if any(gone) else ""
    return _svg(HEIGHT, parts) + missing


def _categories(reference: Histogram, current: Histogram) -> str:
    """Paired bars of the commonest categories, of all others together, and of missing rows."""
    support = np.union1d(reference.support, current.support)
    shares = [side.on(support)[0] / max(float(side.rows[0]), 1e-300) for side in (reference, current)]
    is_named = np.array([not str(name).startswith(BUCKET_PREFIX) for name in support], bool)
    named = np.flatnonzero(is_named)
    order = named[np.argsort(-(shares[0] + shares[1])[named], kind="stable")][:CATEGORIES]
    lines = [(str(support[i]), float(shares[0][i]), float(shares[1][i])) for i in order]
    others = f"{len(support) - len(order):,} others"
    if len(order) < len(support):
        rest = [float(share.sum() - share[order].sum()) for share in shares]
        lines.append((others, rest[0], rest[1]))
    missing = [float(side.missing[0] / max(float(side.rows[0]), 1e-300)) for side in (reference, current)]
    if any(missing):
        lines.append(("missing", missing[0], missing[1]))
    tallest = max([max(before, now) for name, before, now in lines if name != others], default=0.0) or 1.0
    parts = []
    for place, (name, before, now) in enumerate(lines):
        top = place * ROW + 3
        shown = name if len(name) <= LABEL_LENGTH else name[: LABEL_LENGTH - 1] + "…"
        parts.append(f'<text x="{START - 8}" y="{top + 13}" text-anchor="end">{_text(shown)}<title>{_text(name)}</title></text>')
        for side, share, y in (("reference", before, top), ("current", now, top + 9)):
            # All others together have no bar: it would dwarf the rest.
            width = 0.0 if name == others else share / tallest * (WIDTH - START - BEHIND)
            parts.append(f'<rect class="{side}" x="{START}" y="{y}" width="{width:.1f}" height="8"/>')
        parts.append(f'<text x="{WIDTH}" y="{top + 13}" text-anchor="end">{before:.1%} → {now:.1%}</text>')
    return _svg(max(len(lines), 1) * ROW + 6, parts)


def _edges(reference: Histogram, current: Histogram) -> np.ndarray:
    """Ends of equal bars over the range that holds all but `TAIL` of either side at either end."""
    low, high = np.inf, -np.inf
    for side in (reference, current):
        counts = side.counts[0]
        if counts.sum() > 0:
            cumulative = np.cumsum(counts) / counts.sum()
            lower, upper = _inside(side)
            low = min(low, lower[np.searchsorted(cumulative, TAIL)])
            high = max(high, upper[min(int(np.searchsorted(cumulative, 1 - TAIL)), len(upper) - 1)])
    if not np.isfinite(low):
        return np.linspace(0.0, 1.0, BARS + 1)
    supports = np.concatenate([reference.support, current.support])
    if np.array_equal(supports, np.floor(supports)) and high < EXACT_WHOLE and low > -EXACT_WHOLE:
        # As many whole numbers in each bar, else some would stand out for holding one more.
        step = np.ceil((high - low + 1) / BARS)
        return np.asarray(low - 0.5 + step * np.arange(np.ceil((high - low + 1) / step) + 1))
    if not low < high:
        low, high = low - max(abs(low), 1.0) / 2, low + max(abs(low), 1.0) / 2
    # Not high - low, which may exceed the largest number.
    share = np.linspace(0.0, 1.0, BARS + 1)
    return np.asarray(low * (1 - share) + high * share)


def _axis_label(value: float, is_time: bool) -> str:
    """A number, or the day of a time, which profiles hold as days since 1970."""
    if is_time and abs(value) < 1e6:
        return str(np.datetime64("1970-01-01") + np.timedelta64(int(np.floor(value)), "D"))
    return f"{value:.4g}"


def _inside(side: Histogram) -> tuple[np.ndarray, np.ndarray]:
    """Bin edges, open bins ending where the values end."""
    return np.clip(side.support, side.minimum[0], side.maximum[0]), np.clip(side.upper, side.minimum[0], side.maximum[0])


def _on_bars(side: Histogram, edges: np.ndarray) -> np.ndarray:
    """Shares of all rows per bar. A bin's rows are spread over it evenly."""
    counts = side.counts[0]
    bars = len(edges) - 1
    if not counts.sum() > 0:
        return np.zeros(bars)
    lower, upper = _inside(side)
    is_point = upper <= lower
    bar = np.clip(np.searchsorted(edges, lower, side="right") - 1, 0, bars - 1)
    drawn = np.bincount(bar[is_point], weights=counts[is_point], minlength=bars).astype(float)
    if (~is_point).any():
        low, high, held = lower[~is_point, None], upper[~is_point, None], counts[~is_point, None]
        ends = edges.copy()
        ends[0], ends[-1] = -np.inf, np.inf
        with np.errstate(over="ignore"):
            below = np.clip((ends - low) / (high - low), 0.0, 1.0)
        drawn += (np.diff(below, axis=1) * held).sum(axis=0)
    return np.asarray(drawn / side.rows[0])


def _axis(ground: int) -> str:
    return f'<line class="axis" x1="{LEFT}" y1="{ground}" x2="{WIDTH}" y2="{ground}"/>'


def _svg(height: int, parts: list[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg>'


def _text(text: str) -> str:
    return escape(printable(text))
