"""How often `compare` alarms on two samples of one population, and how small a shift it finds.

Run `python -m benchmarks.two_tables [PAIRS [NAMES]]`, PAIRS of each line (400; fewer of the large ones), of the lines whose name
holds one of NAMES. It prints the tables of docs/statistics.md: of quiet pairs the share with any alarm, with its 95 % interval
(Clopper and Pearson), beside the rate that was asked for; of moved pairs the share in which the column that moved is found.
"""

import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats

from monitoring_assets.drift import compare

Values = Callable[[np.random.Generator, int], np.ndarray]  # (generator, rows) -> one column


def categories(count: int, exponent: float) -> Values:
    """So many names, the k-th as common as k to the power of minus the exponent."""
    shares = np.arange(1, count + 1) ** -exponent
    names = np.array([f"value {place}" for place in range(count)], object)
    return lambda generator, rows: names[generator.choice(count, rows, p=shares / shares.sum())]


def with_missing(values: Values, share: float) -> Values:
    return lambda generator, rows: np.where(generator.random(rows) < share, np.nan, values(generator, rows))


def normal(generator: np.random.Generator, rows: int) -> np.ndarray:
    return generator.normal(size=rows)


SHAPES: dict[str, Values] = {
    "normal": normal,
    "log-normal": lambda generator, rows: generator.lognormal(sigma=1.5, size=rows),
    "rounded to halves": lambda generator, rows: np.round(generator.normal(size=rows) * 2) / 2,
    "counts": lambda generator, rows: generator.poisson(2.0, rows),
    "mostly zero": lambda generator, rows: np.where(generator.random(rows) < 0.8, 0.0, generator.lognormal(size=rows)),
    "yes or no": lambda generator, rows: generator.random(rows) < 0.1,
    "5 categories": categories(5, 1.0),
    "500 categories": categories(500, 1.0),
    "5 % missing": with_missing(normal, 0.05),
    "Cauchy": lambda generator, rows: generator.standard_cauchy(rows),
    "1 % fives": lambda generator, rows: np.where(generator.random(rows) < 0.01, 5.0, 0.0),
    "Zipf": lambda generator, rows: generator.zipf(1.5, rows).clip(0, 3_000).astype(str),
}


@dataclass(frozen=True)
class Line:
    """`columns` of these shapes in turn; `effort` divides the pairs."""

    name: str
    sizes: tuple[int, int]
    columns: int = 9
    shapes: tuple[str, ...] = tuple(SHAPES)
    rate: float = 0.1
    is_weighted: bool = False
    effort: float = 1.0


LINES = (
    *(
        Line(f"{before:,} and {now:,} rows, {columns} columns", (before, now), columns, effort=effort * columns / 9)
        for columns in (9, 50)
        for before, now, effort in ((100, 100, 0.5), (1_000, 1_000, 1.0), (1_000, 100, 1.0), (100_000, 10_000, 2.0))
    ),
    *(Line(f"9 columns, {name}", (1_000, 1_000), shapes=(name,), effort=2.0) for name in SHAPES),
    Line("weighted rows", (1_000, 1_000), is_weighted=True),
    Line("Cauchy, 1 % fives and Zipf among 9 columns", (1_000, 1_000), shapes=tuple(SHAPES)[3:]),
    Line("9 columns at 1 %", (1_000, 1_000), rate=0.01, effort=0.5),
)
# What is moved, in standard deviations of a normal column or the share of a category of 20 %.
MOVES = {"0.1 σ": 0.1, "0.25 σ": 0.25, "0.5 σ": 0.5, "20 % to 25 %": 0.05, "20 % to 30 %": 0.1}
POWER_SIZES = ((1_000, 1_000), (1_000, 100), (100_000, 10_000))


def table(line: Line, generator: np.random.Generator, rows: int) -> pd.DataFrame:
    shapes = [SHAPES[line.shapes[place % len(line.shapes)]] for place in range(line.columns)]
    frame = pd.DataFrame({f"x{place}": values(generator, rows) for place, values in enumerate(shapes)})
    return frame.assign(weight=generator.exponential(size=rows) + 0.1) if line.is_weighted else frame


def alarms(line: Line, seed: int) -> list[tuple[str, str, float]]:
    """Column, method and score ÷ threshold of what alarms in a quiet pair."""
    generator = np.random.default_rng([zlib.crc32(line.name.encode()), seed])
    sides = [table(line, generator, rows) for rows in line.sizes]
    scores = compare(*sides, false_alarm_rate=line.rate, weight="weight" if line.is_weighted else None)
    found = scores[scores["drifted"]]
    return list(zip(found["feature"], found["method"], found["excess"], strict=True))


def found_moves(sizes: tuple[int, int], seed: int) -> list[bool]:
    """Whether each of `MOVES` is found at a rate of 1 %, in the column that moved of nine."""
    found = []
    for place, size in enumerate(MOVES.values()):
        generator = np.random.default_rng([*sizes, place, seed])
        before, now = (table(Line("", sizes), generator, rows) for rows in sizes)
        if "σ" in list(MOVES)[place]:
            moved, now = "x0", now.assign(x0=now["x0"] + size)
        else:
            moved = "x5"
            before, now = (
                side.assign(x5=generator.random(len(side)) < share) for side, share in ((before, 0.2), (now, 0.2 + size))
            )
        scores = compare(before, now, false_alarm_rate=0.01)
        found.append(bool(scores.loc[scores["feature"] == moved, "drifted"].any()))
    return found


def quiet_rows(pool: ProcessPoolExecutor, lines: list[Line], pairs: int) -> Iterator[str]:
    yield "| quiet pairs of … | rate asked for | with any alarm | 95 % interval | pairs | most alarms in |"
    yield "|---|---|---|---|---|---|"
    for line in lines:
        number = max(int(pairs / line.effort), 20)
        of_pairs = list(pool.map(partial(alarms, line), range(number), chunksize=4))
        alarming = sum(bool(found) for found in of_pairs)
        interval = stats.binomtest(alarming, number).proportion_ci()
        places = [f"{line.shapes[int(x[1:]) % len(line.shapes)]} {method}" for found in of_pairs for x, method, _ in found]
        most = ", ".join(f"{name} {count}" for name, count in Counter(places).most_common(3))
        shown = f"{alarming / number:.1%} | {interval.low:.1%} – {interval.high:.1%}"
        yield f"| {line.name} | {line.rate:.0%} | {shown} | {number} | {most} |"


def power_rows(pool: ProcessPoolExecutor, pairs: int) -> Iterator[str]:
    yield f"| found at a rate of 1 %, 9 columns | {' | '.join(MOVES)} | pairs |\n{'|---' * (len(MOVES) + 2)}|"
    for sizes in POWER_SIZES:
        number = max(pairs // (4 if max(sizes) > 10_000 else 2), 20)
        shares = np.mean(list(pool.map(partial(found_moves, sizes), range(number), chunksize=2)), axis=0)
        yield f"| {sizes[0]:,} and {sizes[1]:,} rows | {' | '.join(f'{share:.0%}' for share in shares)} | {number} |"


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    words = sys.argv[2:]
    chosen = [line for line in LINES if not words or any(word in line.name for word in words)]
    with ProcessPoolExecutor(2) as pool:
        for row in quiet_rows(pool, chosen, pairs):
            print(row, flush=True)
        if not words or "power" in words:
            print()
            for row in power_rows(pool, pairs):
                print(row, flush=True)


if __name__ == "__main__":
    main()
