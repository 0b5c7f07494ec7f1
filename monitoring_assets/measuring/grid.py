"""Grids: how a column is cut into bins, chosen once from the first reference and kept for good. Counting is in `kernel.py`.

A bin depends on the value alone, never on the day or on the other rows, so profiles add up exactly. A numeric grid is a range
of equal cells whose width is a power of two, and inside its crowded parts up to `ZOOMS` finer ranges of the same make. With
y = value * scale, floor(y) + ceil(y) is even on a cell's edge and odd inside, so values on the edges (every integer where the
width is 1) are kept apart from those between at the price of one rounding more, and an even cell is a single value. Other single
values that are heavy, the atoms, are compared one by one. Cells are joined into bins after counting.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Self

import numpy as np

# A column whose reference has at most this many distinct values gets a bin for each; a categorical one names as many.
EXACT_LIMIT = 1_000
# Cells of the whole range and of each finer one. Each cell has two keys, and all keys must fit 16 bits: DuckDB
# then counts in an array instead of a hash table.
CELLS, ZOOM_CELLS, ZOOMS = 1 << 14, 4_000, 4
BINS = 1_200
# Bins share the reference by this measure: its mass (for KS), the square root of mass times width (least total mass times
# width, for W1), and the width (so that there are bins where the reference has few rows).
MEASURE = (0.7, 0.2, 0.1)
# A cell with a larger share is crowded; a single value with a larger share is an atom, if it repeats.
CROWDED, ATOM, ATOM_REPEATS, ATOMS = 1 / 1_200, 1 / 2_000, 8, 32
# Shares of the reference that may be left to the open ends, where outliers would otherwise take all the resolution.
TRIMS = (0.0, 1e-5, 1e-4, 5e-4)
NULL_KEY, NAN_KEY, INFINITE_KEY, LOW_KEY, HIGH_KEY, FIRST_KEY = range(6)


@dataclass(frozen=True)
class CategoryGrid:
    """The categories that always keep their name: the reference's heaviest. Others share `kernel.BUCKETS` on crowded days."""

    known: tuple[str, ...]


@dataclass(frozen=True)
class NumericGrid:
    """`ranges` holds (lower, upper, scale), the widest first, a finer one always inside one cell run of a wider one;
    `atoms` ascend; bin `i` is made of the cells from `starts[i]` up to the next start. Without ranges a column is counted by
    value."""

    ranges: tuple[tuple[float, float, float], ...]
    atoms: tuple[float, ...]
    starts: tuple[int, ...]

    @classmethod
    def stored(cls, lowers: list[float], uppers: list[float], scales: list[float], atoms: list[float], starts: list[int]) -> Self:
        """The grid that a row of the table `profile_grids` holds; the inverse of `fields`."""
        return cls(tuple(zip(lowers, uppers, scales, strict=True)), tuple(atoms), tuple(starts))

    @property
    def fields(self) -> list[list[float] | list[int]]:
        """What `profile_grids` holds of this grid: lowers, uppers, scales, atoms, starts."""
        return [*([each[place] for each in self.ranges] for place in range(3)), list(self.atoms), list(self.starts)]

    def key_sql(self, x: str) -> str:
        """SQL that gives the key of a value's cell, as USMALLINT. `x` is of type DOUBLE."""
        clauses = []
        cells, lowers = self.cells, self.cells[0]
        for atom in self.atoms:
            at = int(np.searchsorted(lowers, atom, side="right")) - 1
            low, high = number_sql(max(lowers[at - 1], -np.finfo(float).max)), number_sql(atom)
            clauses += [f"WHEN {x} = {high} THEN {cells[2][at]}", f"WHEN {x} >= {low} AND {x} < {high} THEN {cells[2][at - 1]}"]
        for (lower, upper, scale), first in reversed(list(zip(self.ranges, _first_keys(self.ranges), strict=True))):
            y, shift = f"{x} * {number_sql(scale)}", number_sql(first - 2 * lower * scale)
            clauses.append(f"WHEN {x} >= {number_sql(lower)} AND {x} < {number_sql(upper)} THEN floor({y}) + ceil({y}) + {shift}")
        clauses += [
            f"WHEN {x} IS NULL THEN {NULL_KEY}",
            f"WHEN isnan({x}) THEN {NAN_KEY}",
            f"WHEN isinf({x}) THEN {INFINITE_KEY}",
        ]
        clauses.append(f"WHEN {x} < {number_sql(self.ranges[0][0])} THEN {LOW_KEY}")
        return f"CAST(CASE {' '.join(clauses)} ELSE {HIGH_KEY} END AS USMALLINT)"

    @cached_property
    def bins(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper edge of every bin, ascending. Bins are closed below and open above; where both edges are the same
        number the bin holds that value only."""
        lower, upper, _ = self.cells
        starts = np.asarray(self.starts)
        last = np.append(starts[1:], len(lower)) - 1
        open_end = np.where(upper[last] > lower[last], upper[last], _next(lower[last]))
        return lower[starts], np.where(last == starts, upper[last], open_end)

    def bins_within(self, lower: float, upper: float) -> tuple[np.ndarray, np.ndarray]:
        """The same edges, cut off at those of a bin [lower, upper) of another grid, which this one divides."""
        low, high = self.bins
        return np.clip(low, lower, upper), np.clip(high, lower, upper)

    def bins_of_keys(self, keys: np.ndarray) -> np.ndarray:
        """The bin of each key."""
        lookup = np.zeros(1 << 16, np.int64)
        lookup[self.cells[2]] = self._bin_of_cell
        return lookup[keys]

    def bins_of_values(self, values: np.ndarray) -> np.ndarray:
        """The bin of each finite value."""
        return self._bin_of_cell[np.searchsorted(self.cells[0], values, side="right") - 1]

    @cached_property
    def _bin_of_cell(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.starts)), np.diff([*self.starts, len(self.cells[0])]))

    @cached_property
    def cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lower edge, upper edge and key of every cell, ascending; they cover the whole line."""
        return _cells(self.ranges, self.atoms)

    @classmethod
    def fitted(cls, values: np.ndarray, counts: np.ndarray) -> Self:
        """The grid for a reference given as its distinct finite values, ascending, and their counts.

        Examples
        --------
        >>> lower, upper = NumericGrid.fitted(np.array([0.0, 1.0]), np.array([3, 5])).bins
        >>> [2.0 in lower[lower == upper], 0.5 in lower[lower == upper]]
        [True, False]
        >>> NumericGrid.fitted(np.array([0.1, 0.3]), np.array([3, 5])).ranges
        ()
        """
        step = _lattice_scale(values)
        fits = step is not None and len(values) > 0 and (values[-1] - values[0]) * step < CELLS - 2
        if len(values) == 0 or (len(values) <= EXACT_LIMIT and not fits):
            return cls((), tuple(values.tolist()), tuple(range(2 * len(values) + 1)))
        shares = counts / counts.sum()
        tried = []
        for trim in TRIMS[: 1 if step else None]:
            tried.append(cls._ranged(values, counts, shares, trim, step))
            if tried[-1][2] <= CROWDED:
                break
        ranges, atoms, _ = min(tried, key=lambda found: found[2]) if tried[-1][2] > CROWDED else tried[-1]
        grid = cls(ranges, atoms, (0,))
        is_by_cell = step == ranges[0][2] and len(values) <= EXACT_LIMIT
        return cls(ranges, atoms, tuple(range(len(grid.cells[0]))) if is_by_cell else _joined(grid, values, counts))

    @classmethod
    def _ranged(
        cls, values: np.ndarray, counts: np.ndarray, shares: np.ndarray, trim: float, step: float | None
    ) -> tuple[tuple[tuple[float, float, float], ...], tuple[float, ...], float]:
        """Ranges, atoms, and the largest share left in a cell of more than one value."""
        is_heavy = (shares >= ATOM) & (counts >= ATOM_REPEATS)
        # A heavy value far out, such as 1e300 for 'unknown', must not stretch the range.
        usual = np.flatnonzero(~is_heavy) if (~is_heavy).any() else np.arange(len(values))
        cumulative = np.cumsum(shares[usual])
        first = min(int(np.searchsorted(cumulative, trim, side="right")), len(usual) - 1)
        last = min(int(np.searchsorted(cumulative, cumulative[-1] - trim)), len(usual) - 1)
        low, high = values[usual[min(first, last)]], values[usual[last]]
        if (high - low) * 4 > values[-1] - values[0] and trim == 0:
            low, high = values[0], values[-1]
        ranges = [_range(float(max(low, -1e300)), float(min(high, 1e300)), CELLS, step)]
        is_heavy &= values * ranges[0][2] != np.floor(values * ranges[0][2])
        is_heavy |= (shares >= ATOM) & (counts >= ATOM_REPEATS) & ((values < ranges[0][0]) | (values >= ranges[0][1]))
        heaviest = np.flatnonzero(is_heavy)[np.argsort(-shares[is_heavy], kind="stable")[:ATOMS]]
        others = counts.copy()
        others[heaviest] = 0
        while True:
            grid = cls(tuple(ranges), (), (0,))
            lower, upper, _ = grid.cells
            mass = grid._mass(values, others) / counts.sum()
            crowded = np.flatnonzero((mass > CROWDED) & (upper > lower) & np.isfinite(lower) & np.isfinite(upper))
            finer = _zoom(ranges, lower[crowded], upper[crowded], mass[crowded]) if len(ranges) <= ZOOMS else None
            if finer is None:
                atoms = np.sort(values[heaviest])
                atoms = atoms[~np.isin(atoms, lower[upper == lower])]
                return tuple(ranges), tuple(atoms.tolist()), float(mass[upper > lower].max(initial=0.0))
            ranges.append(finer)

    def _mass(self, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Rows in each cell, of ascending values and their counts."""
        before = np.append(0, np.cumsum(counts))[np.searchsorted(values, self.cells[0])]
        return np.diff(before, append=counts.sum())


Grid = NumericGrid | CategoryGrid
Ranges = tuple[tuple[float, float, float], ...]


# Fitting asks for the cells of the same ranges several times.
@lru_cache(maxsize=4)
def _cells(ranges: Ranges, atoms: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    main = ranges[0] if ranges else (np.inf, np.inf, 1.0)
    parts = [(np.array([-np.inf]), np.array([main[0]]), np.array([LOW_KEY]))]
    if ranges:
        parts.append((np.array([main[1]]), np.array([np.inf]), np.array([HIGH_KEY])))
    for place, ((lower, upper, scale), first) in enumerate(zip(ranges, _first_keys(ranges), strict=True)):
        count = round((upper - lower) * scale)
        edges = (lower * scale + np.arange(count + 1)) / scale
        low = np.stack([edges[:-1], _next(edges[:-1])], axis=1).ravel()
        high = np.stack([edges[:-1], edges[1:]], axis=1).ravel()
        kept = np.ones(2 * count, bool)
        for inner_lower, inner_upper, _ in ranges[place + 1 :]:
            kept &= (low < inner_lower) | (low >= inner_upper)
        parts.append((low[kept], high[kept], (first + np.arange(2 * count))[kept]))
    low, high, key = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.argsort(low, kind="stable")
    low, high, key = low[order], high[order], key[order]
    if not atoms:
        return low, high, key
    return _split(low, high, key, np.asarray(atoms), FIRST_KEY if not ranges else int(key.max()) + 1)


def _first_keys(ranges: Ranges) -> list[int]:
    sizes = [2 * round((upper - lower) * scale) for lower, upper, scale in ranges]
    return [FIRST_KEY + sum(sizes[:place]) for place in range(len(sizes))]


def _lattice_scale(values: np.ndarray) -> float | None:
    """The least power of two up to 1024 that makes integers of all values (halves, quarters ... are such), or None."""
    with np.errstate(over="ignore"):
        finest = values * 1024
    if not np.array_equal(finest, np.floor(finest)):
        return None
    for scale in 2.0 ** np.arange(0, 11):
        with np.errstate(over="ignore"):
            scaled = values * scale
        if np.all((scaled == np.floor(scaled)) & (np.abs(scaled) < 2.0**51)):
            return float(scale)
    return None


def _range(low: float, high: float, cells: int, finest: float | None) -> tuple[float, float, float]:
    """The finest range of at most so many cells that holds low and high, which is then spread to use them all."""
    limit = _finest_exponent(low, high)
    exponent = limit if high <= low else min(int(np.floor(np.log2((cells - 2) / (high - low)))), limit)
    if finest is not None:
        exponent = min(exponent, int(np.log2(finest)))
    scale = 2.0**exponent
    bottom, top = np.floor(low * scale), np.floor(high * scale) + 1
    spare = (cells - (top - bottom)) // 2
    return float((bottom - spare) / scale), float((top + spare) / scale), scale


def _finest_exponent(low: float, high: float) -> int:
    """No cell may be finer than the numbers themselves: an edge and what lies behind it must be two numbers."""
    return min(51 - int(np.ceil(np.log2(max(abs(low), abs(high), 1e-300)))), 1_020)


def _zoom(
    ranges: list[tuple[float, float, float]], lower: np.ndarray, upper: np.ndarray, mass: np.ndarray
) -> tuple[float, float, float] | None:
    """A finer range over crowded cells: over all those of the range that holds most, or over their heaviest run."""
    if len(lower) == 0:
        return None
    owner = np.max([np.where((lower >= low) & (upper <= high), place, 0) for place, (low, high, _) in enumerate(ranges)], axis=0)
    inside = owner == np.bincount(owner, weights=mass).argmax()
    scale = ranges[int(owner[inside][0])][2]
    first, last, mass = np.floor(lower[inside] * scale), np.ceil(upper[inside] * scale), mass[inside]
    if (last[-1] - first[0]) * 8 > ZOOM_CELLS:
        run = np.cumsum(np.append(False, first[1:] > last[:-1]))
        heaviest = run == np.bincount(run, weights=mass).argmax()
        first, last = first[heaviest], last[heaviest]
    low, high = float(first[0] / scale), float(last[-1] / scale)
    finer = 2.0 ** min(int(np.floor(np.log2(ZOOM_CELLS / (high - low)))), _finest_exponent(low, high))
    return (low, high, float(finer)) if finer > scale else None


def _split(
    lower: np.ndarray, upper: np.ndarray, key: np.ndarray, atoms: np.ndarray, first_key: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cells with those that hold an atom cut into what lies below it, the atom, and what lies above."""
    above = _next(atoms)
    holder = np.searchsorted(lower, atoms, side="right") - 1
    new_key = first_key + 2 * np.arange(len(atoms))
    # Of parts that start at the same number the last is the one that holds it, the others are empty.
    low = np.concatenate([above, lower, atoms])
    order = np.argsort(low, kind="stable")
    low = low[order]
    is_point = np.concatenate([np.zeros(len(atoms), bool), upper == lower, np.ones(len(atoms), bool)])[order]
    high = np.where(is_point, low, np.append(low[1:], upper[-1]))
    # The last part of a cut cell keeps the cell's own key; see the clauses of `key_sql`.
    keys = np.concatenate([np.full(len(atoms), -1), key, new_key])[order]
    cell_of_part = np.where(is_point, -1, np.concatenate([holder, np.arange(len(lower)), holder])[order])
    for cell in np.unique(holder):
        keys[cell_of_part == cell] = [*(new_key[holder == cell] + 1), key[cell]]
    return low, high, keys


def _joined(grid: NumericGrid, values: np.ndarray, counts: np.ndarray) -> tuple[int, ...]:
    """First cells of about `BINS` bins that share the reference evenly; a heavy single value has its own."""
    lower, upper, _ = grid.cells
    mass = grid._mass(values, counts) / counts.sum()
    width = np.where(np.isfinite(lower) & np.isfinite(upper), upper - lower, 0.0)
    measures = (mass, np.sqrt(mass * width / max(width.max(), 1e-300)), width)
    weight = sum(share * measure / (measure.sum() or 1.0) for share, measure in zip(MEASURE, measures, strict=True))
    before = np.cumsum(weight) - weight
    place = np.floor(before / weight.sum() * BINS)
    is_alone = (upper == lower) & (mass >= ATOM)
    is_start = np.append(True, np.diff(place) > 0) | is_alone | np.append(False, is_alone[:-1])
    is_start |= ~np.isfinite(lower) | ~np.isfinite(upper)
    return tuple(np.flatnonzero(is_start).tolist())


def _next(numbers: np.ndarray) -> np.ndarray:
    """The next number up; infinity after the largest."""
    with np.errstate(over="ignore"):
        return np.nextafter(numbers, np.inf)


def number_sql(number: float) -> str:
    """A number as SQL, to its last bit."""
    return f"'{float(number)!r}'::DOUBLE"
