"""Which columns two tables have in common, and whether they are compared as numbers or as categories.

A number, boolean, date or time on both sides is numeric; text is categorical, unless it is numbers with marks for missing values,
such as 'n/a'. Whole numbers stay numeric, however few they are: a count of rooms and a code look the same, and numeric methods
find a change in either. Say otherwise where it matters.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb

from monitoring_assets.comparison.contents import Contents, contents, with_times
from monitoring_assets.comparison.row_labels import row_label
from monitoring_assets.errors import ColumnUnusable, ComparisonImpossible
from monitoring_assets.ingestion.contract import typed_sql
from monitoring_assets.ingestion.tables import Table
from monitoring_assets.warehouse import quoted

KINDS = ("numeric", "categorical")


@dataclass(frozen=True)
class Column:
    """A column of both tables: SQL for its values in the reference and in the current table, and their types."""

    name: str
    kind: str
    sql: tuple[str, str]
    types: tuple[str, str]


@dataclass
class Chosen:
    """The columns to compare; those left out, with the reason; those that only one table has ('gone' or 'new'); what a reader
    should know."""

    columns: list[Column] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    schema: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def common_columns(
    connection: duckdb.DuckDBPyConnection,
    reference: Table,
    current: Table,
    features: Sequence[str] | Mapping[str, str] | None,
    categorical: Collection[str],
    weight: str | None,
) -> Chosen:
    """The columns to compare, and why others are not.

    Raises
    ------
    ComparisonImpossible
        When no column is left, or columns have contradictory types; all of them are named.
    ColumnUnusable
        When a feature that was asked for is missing or cannot be compared.
    """
    asked = {features: None} if isinstance(features, str) else features
    wanted = dict(asked) if isinstance(asked, Mapping) else dict.fromkeys(asked or ())
    kinds = wanted | dict.fromkeys([categorical] if isinstance(categorical, str) else categorical, "categorical")
    _refuse_unknown(reference, current, kinds, weight)
    chosen = Chosen(schema=_on_one_side(reference, current) if features is None else {})
    names = [n for n in (wanted if features is not None else reference.columns) if n in current.columns and n != weight]
    tables, held = _opened(connection, (reference, current), names)
    contradictions: list[str] = []
    labels: dict[str, tuple[Column, str]] = {}
    for name in names:
        sides = held[0][name], held[1][name]
        found = _column(tables, name, sides, kinds.get(name))
        if isinstance(found, Column):
            label = row_label(connection, tables, name, sides) if name not in kinds else None
            if label is None:
                chosen.columns.append(found)
            else:
                labels[name] = found, label
        elif found.startswith("has "):
            contradictions.append(f"{name!r} {found}")
        elif features is not None:
            raise ColumnUnusable(f"column {name!r} cannot be compared: {found}; cast it, or leave it out of `features`")
        else:
            chosen.left_out[name] = found
    if contradictions:
        raise ComparisonImpossible(
            f"{len(contradictions)} column(s) hold values of another kind in the current table than in the reference: "
            f"{'; '.join(contradictions)}. Correct the values, name only the columns to compare (`features=`, --features), or "
            "compare these as categories (`categorical=`, --categorical)"
        )
    if chosen.columns:
        chosen.left_out |= {name: f"{why}; name it in `features` (--features) to compare it" for name, (_, why) in labels.items()}
    else:
        # A table of labels alone is asked about its labels.
        chosen.columns = [column for column, _ in labels.values()]
    if not chosen.columns:
        reasons = chosen.left_out | {name: _WHERE[change] for name, change in chosen.schema.items()}
        why_not = ", ".join(f"{name!r} ({why})" for name, why in list(reasons.items())[:20])
        raise ComparisonImpossible(
            f"{reference.name} and {current.name} have no column in common to compare: {why_not or 'no columns'}"
        )
    chosen.notes = _notes(chosen.columns, held)
    return chosen


_WHERE = {"gone": "only in the reference", "new": "only in the current table"}


def _opened(
    connection: duckdb.DuckDBPyConnection, tables: tuple[Table, Table], names: Sequence[str]
) -> tuple[tuple[Table, Table], tuple[dict[str, Contents], dict[str, Contents]]]:
    """The tables and what their columns hold; text where the other side has times is read as times, if all of it is."""
    one, other = (contents(connection, table, names) for table in tables)
    read = []
    for table, side, opposite in ((tables[0], one, other), (tables[1], other, one)):
        doubtful = [name for name in names if side[name].family == "text" and opposite[name].family == "time"]
        read.append(with_times(connection, table, doubtful) if doubtful else table)
        side.update(contents(connection, read[-1], [name for name in doubtful if read[-1].types[name] != table.types[name]]))
    return (read[0], read[1]), (one, other)


def _notes(columns: Sequence[Column], held: Sequence[Mapping[str, Contents]]) -> list[str]:
    """What was made of text that holds numbers."""
    marked, doubtful = [], []
    for column in columns:
        sides = [side[column.name] for side in held if side[column.name].family == "text"]
        if column.kind == "numeric" and any(side.marks for side in sides):
            marked.append(f"{column.name} ({', '.join(sorted({repr(side.mark) for side in sides if side.mark is not None}))})")
        if column.kind == "categorical" and any(side.numbers > side.present / 2 and side.other for side in sides):
            doubtful.append(f"{column.name} ({next(repr(side.other) for side in sides if side.other)} is none)")
    notes = [f"numbers in which these texts count as missing values: {', '.join(marked)}"] if marked else []
    notes += [f"compared as categories although most values are numbers: {', '.join(doubtful)}"] if doubtful else []
    return notes


def _refuse_unknown(reference: Table, current: Table, wanted: Mapping[str, str | None], weight: str | None) -> None:
    for name, kind in wanted.items():
        if kind is not None and kind not in KINDS:
            raise ComparisonImpossible(f"feature {name!r} is to be {kind!r}; numeric or categorical was expected")
    for table in (reference, current):
        for name in (*wanted, *([weight] if weight else [])):
            if name not in table.columns:
                held = ", ".join(map(repr, table.columns[:50]))
                raise ColumnUnusable(f"no column {name!r} in the {table.role} ({table.name}); it has {held or 'no columns'}")


def _on_one_side(reference: Table, current: Table) -> dict[str, str]:
    gone = {name: "gone" for name in reference.columns if name not in current.columns}
    return gone | {name: "new" for name in current.columns if name not in reference.columns}


def _column(tables: tuple[Table, Table], name: str, held: tuple[Contents, Contents], kind: str | None) -> Column | str:
    """The column, or why there is none; a reason that starts with 'has' is a contradiction."""
    for table, side in zip(tables, held, strict=True):
        if name in table.unreadable:
            return f"{'has mixed values: ' if ' object' in table.unreadable[name] else ''}{table.role} {table.unreadable[name]}"
        if side.family is None:
            return f"of type {table.types[name][:60]} in the {table.role}: neither number, time nor text"
    families = {side.family for side in held} - {"nothing"}
    are_numbers = all(side.may_be_numbers for side in held) and any(side.has_numbers for side in held)
    is_marked = "number" in families or any(side.marks for side in held)
    if kind is None and are_numbers and is_marked:
        kind = "numeric"
    elif kind is None and len(families) > 1:
        examples = [_type_and_example(tables[place], name, held[place], held[1 - place]) for place in (0, 1)]
        return f"has {' and '.join(examples)}"
    kind = kind or ("categorical" if families == {"text"} else "numeric")
    if kind == "numeric" and "text" in families and not are_numbers:
        place = next(place for place, side in enumerate(held) if side.family == "text" and not side.may_be_numbers)
        return f"has {_type_and_example(tables[place], name, held[place], None)}, and is to be numeric"
    one, other = (_values_sql(table.sql[name], table.types[name], kind, side) for table, side in zip(tables, held, strict=True))
    return Column(name, kind, (one, other), (tables[0].types[name], tables[1].types[name]))


def _type_and_example(table: Table, name: str, side: Contents, opposite: Contents | None) -> str:
    """Type and example of a column; of text where the other side has numbers, a text that is none."""
    example = side.other if side.family == "text" and (opposite is None or opposite.has_numbers) else None
    if example is None:
        present = side.values.drop_null()
        example = str(present[0].as_py())[:60] if len(present) else None
    return f"{table.types[name][:60]} in the {table.role}" + (f" (such as {example!r})" if example is not None else "")


def _values_sql(x: str, found: str, kind: str, side: Contents) -> str:
    """SQL of a column's values, so that equal values of the two sides have equal text whatever type they are stored as."""
    family = side.family
    if family == "nothing":
        return "NULL::DOUBLE" if kind == "numeric" else "NULL::VARCHAR"
    if family == "text" and kind == "numeric":
        return f"TRY_CAST(CAST({x} AS VARCHAR) AS DOUBLE)"
    if family == "time":
        # DuckDB 2.0 has no epoch() for zoned nanoseconds, which is what pandas has.
        moment = f"CAST({x} AS TIMESTAMPTZ)" if found.startswith("TIMESTAMP") else x
        return moment if kind == "numeric" else f"CAST(CAST({moment} AS TIMESTAMP) AS VARCHAR)"
    if kind == "numeric" or family == "text":
        return x
    return (
        typed_sql(f"CAST({x} AS DOUBLE)", "DOUBLE", "VARCHAR") if found.startswith("DECIMAL") else typed_sql(x, found, "VARCHAR")
    )


def alias_sql(columns: Sequence[Column], side: int) -> str:
    """The columns of a side under numbered names, which no name of the user's can upset."""
    return ", ".join(f"{column.sql[side]} AS {quoted(f'c{place}')}" for place, column in enumerate(columns))
