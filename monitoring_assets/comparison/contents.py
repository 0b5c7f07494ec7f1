"""What a column of a table holds: numbers, times, text, nothing, or numbers written as text with marks for missing values.

Judged by its type, and of text by its values. Whether the two sides go together is decided in `common_columns.py`.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa

from monitoring_assets.ingestion.tables import MISSING_MARKS, Table
from monitoring_assets.measuring.values import NUMBERS, TIMES
from monitoring_assets.warehouse import literal

FAMILIES = {
    "nothing": re.compile(r"\"NULL\""),
    "number": NUMBERS,
    "time": TIMES,
    "text": re.compile(r"VARCHAR|ENUM\(.*\)|UUID"),
}
# The first rows of a table, which for most columns tell enough; a column that they leave open is read whole.
HEAD_ROWS = 2_000
# Digits behind a zero are a code, such as a postcode, and no number.
_IS_NUMBER = "TRY_CAST({x} AS DOUBLE) IS NOT NULL AND NOT regexp_matches({x}, '^\\s*[+-]?0[0-9]')"
_IS_MARK = f"lower(trim({{x}})) IN ({', '.join(map(literal, MISSING_MARKS))})"


Counts = tuple[int, int, int, str | None, str | None]


@dataclass(frozen=True)
class Contents:
    """`family` is one of `FAMILIES`, or None for what cannot be compared. `values` are the first rows. Of text that may be
    numbers: how many values it has, how many of them are numbers and how many marks, a mark, and a value that is neither."""

    family: str | None
    values: pa.ChunkedArray
    present: int = 0
    numbers: int = 0
    marks: int = 0
    mark: str | None = None
    other: str | None = None

    @property
    def may_be_numbers(self) -> bool:
        """Whether every value is a number, or a text that is one or a mark."""
        return self.family in {"number", "nothing"} or (self.family == "text" and self.numbers + self.marks == self.present)

    @property
    def has_numbers(self) -> bool:
        return self.family == "number" or self.numbers > 0


def contents(connection: duckdb.DuckDBPyConnection, table: Table, names: Collection[str]) -> dict[str, Contents]:
    """What these columns hold, by name."""
    families = {name: _family(table.types.get(name, "")) for name in names}
    known = [name for name, family in families.items() if family is not None]
    selected = ", ".join(f"{table.sql[name]} AS c{place}" for place, name in enumerate(known))
    head = connection.sql(f"SELECT {selected or 'NULL'} FROM {table.relation} LIMIT {HEAD_ROWS}").to_arrow_table()
    values = {name: head[f"c{place}"] for place, name in enumerate(known)}
    doubtful = [name for name in known if families[name] == "text" and not _is_plain_text(values[name])]
    counts = _counts(connection, table, doubtful)
    found = {}
    for name, family in families.items():
        counted = counts.get(name, (1, 0, 0, None, None))
        is_nothing = family == "text" and counted[0] == 0
        found[name] = Contents("nothing" if is_nothing else family, values.get(name, pa.chunked_array([[]], pa.null())), *counted)
    return found


def with_times(connection: duckdb.DuckDBPyConnection, table: Table, names: Sequence[str]) -> Table:
    """The table with those of its text columns as times whose every value is one: JSON has no times, only their text."""
    times = {name: f"TRY_CAST(CAST({table.sql[name]} AS VARCHAR) AS TIMESTAMPTZ)" for name in names}
    wanted = ", ".join(f"count({table.sql[name]}) = count({x})" for name, x in times.items())
    are_times = connection.execute(f"SELECT {wanted or 'true'} FROM {table.relation}").fetchall()[0]
    kept = {name: x for (name, x), is_time in zip(times.items(), are_times, strict=False) if is_time}
    types = dict.fromkeys(kept, "TIMESTAMP WITH TIME ZONE")
    return replace(table, sql={**table.sql, **kept}, types={**table.types, **types}) if kept else table


def _is_plain_text(values: pa.ChunkedArray) -> bool:
    """Whether the first different values are mostly neither numbers nor marks; else the column is read whole."""
    different = [str(value) for value in values.unique().drop_null()[:50].to_pylist()]
    return 2 * sum(_may_be_number(text) for text in different) < len(different)


def _may_be_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip().lower() in MISSING_MARKS
    return True


def _counts(connection: duckdb.DuckDBPyConnection, table: Table, names: list[str]) -> dict[str, Counts]:
    """Of text columns, what `Contents` says of text."""
    # Each text is examined once, below; five aggregates that each did so would take five times as long to plan.
    examined, wanted = [], []
    for place, name in enumerate(names):
        x = f"CAST({table.sql[name]} AS VARCHAR)"
        examined += [
            f"{x} AS x{place}", f"coalesce({_IS_MARK.format(x=x)}, false) AS m{place}",
            f"coalesce({_IS_NUMBER.format(x=x)}, false) AND NOT m{place} AS n{place}",
        ]  # fmt: skip
        wanted += [
            f"count(x{place})", f"count(*) FILTER (n{place})", f"count(*) FILTER (m{place})",
            f"min(x{place}) FILTER (m{place})", f"left(min(x{place}) FILTER (NOT (n{place} OR m{place})), 60)",
        ]  # fmt: skip
    if not wanted:
        return {}
    rows = f"(SELECT {', '.join(examined)} FROM {table.relation})"
    found = connection.execute(f"SELECT {', '.join(wanted)} FROM {rows}").fetchall()[0]
    return {name: found[5 * place : 5 * place + 5] for place, name in enumerate(names)}


def _family(found: str) -> str | None:
    return next((family for family, pattern in FAMILIES.items() if pattern.fullmatch(found)), None)
