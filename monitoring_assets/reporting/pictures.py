"""Small pictures for a materialisation's metadata, as SVG that a page can embed. No plotting library: a year's backfill draws
one picture a day, and importing one costs more than drawing them all. Reports for people live elsewhere in `reporting/`.
"""

from base64 import b64encode
from html import escape

import numpy as np

WIDTH, HEIGHT, GROUND, TOP = 420, 150, 118, 22
BASELINE_COLOUR, CURRENT_COLOUR = "#9aa5b1", "#e4572e"
# Names under the bars: how many at most, their length, and the width of a character at their size.
LABELS, LABEL_LENGTH, CHARACTER = 8, 9, 6


def overlaid_shares(title: str, names: list[str], baseline: np.ndarray, current: np.ndarray) -> str:
    """Shares of the baseline and of the current window per bin, as paired bars.

    Parameters
    ----------
    names : one label per bin. baseline, current : shares per bin, of one length.

    Returns
    -------
    A Markdown image whose SVG is in the link itself; every text is escaped.

    Examples
    --------
    >>> overlaid_shares("carrier", ["AA", "UA"], np.array([0.4, 0.6]), np.array([0.7, 0.3]))[:34]
    '![carrier](data:image/svg+xml;base'
    """
    tallest = max(float(np.max(baseline, initial=0.0)), float(np.max(current, initial=0.0))) or 1.0
    step = WIDTH / max(len(names), 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="10">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="4" y="13" font-size="12">{escape(title)}</text>',
        _legend(WIDTH - 130, BASELINE_COLOUR, "baseline"),
        _legend(WIDTH - 60, CURRENT_COLOUR, "this day"),
    ]
    every = -(-len(names) // LABELS)
    for place, (name, before, now) in enumerate(zip(names, baseline, current, strict=True)):
        left, bar = place * step + step * 0.1, step * 0.4
        parts.append(_bar(left, bar, before / tallest, BASELINE_COLOUR))
        parts.append(_bar(left + bar, bar, now / tallest, CURRENT_COLOUR))
        if place % every == 0:
            parts.append(_label(left + bar, GROUND + 14, name))
    svg = "".join([*parts, "</svg>"])
    alternative = title.translate(dict.fromkeys(map(ord, "[]()\n\\`"), " "))
    return f"![{alternative}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})"


def _bar(left: float, width: float, share: float, colour: str) -> str:
    height = (GROUND - TOP) * float(share)
    return f'<rect x="{left:.1f}" y="{GROUND - height:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _label(middle: float, height: float, name: str) -> str:
    """A bin's name under its bars, moved inwards where it would leave the picture."""
    text = name if len(name) <= LABEL_LENGTH else name[: LABEL_LENGTH - 1] + "…"
    half = len(text) * CHARACTER / 2
    middle = min(max(middle, half), WIDTH - half)
    return f'<text x="{middle:.1f}" y="{height}" text-anchor="middle" fill="#52606d">{escape(text)}</text>'


def _legend(left: float, colour: str, text: str) -> str:
    return f'<rect x="{left}" y="5" width="9" height="9" fill="{colour}"/><text x="{left + 12}" y="13">{text}</text>'
