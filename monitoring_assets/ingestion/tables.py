"""Any table a person has at hand, as a relation DuckDB can scan: a pandas frame, an Arrow table, Parquet, CSV or JSON lines.

Columns keep the types they have. What they mean for a comparison is in `comparison/common_columns.py`; the files of a monitor,
which have a contract, are read by `sources.py`.
"""

import csv
import glob
import gzip
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from monitoring_assets.errors import ColumnUnusable, ComparisonImpossible, SourceUnreadable
from monitoring_assets.ingestion.files import DELIMITERS, SOURCE_FILE, csv_dialect, error_text, listed
from monitoring_assets.ingestion.text_faults import text_fault
from monitoring_assets.warehouse import quoted

if TYPE_CHECKING:
    import pandas as pd

# What programs write for "no value" into CSV. A text that says NA counts as missing too: on both sides alike, so nothing is lost.
NO_VALUE = "nullstr = ['', 'NA', 'N/A', 'NULL', 'null', 'None']"
# Texts that mean "no value" in a column of numbers, in lower case. No number is one, not even -999: it may be a value.
MISSING_MARKS = (
    "", "-", "--", ".", "?", "na", "n/a", "n.a.", "#n/a", "<na>", "nan", "nat", "nil", "null", "(null)", "none", "missing",
)  # fmt: skip
CSV_ENDINGS, JSON_ENDINGS = (".csv", ".tsv", ".txt"), (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class Table:
    """A relation, what to call it, and for each column its SQL, its DuckDB type, or why it cannot be read."""

    role: str
    name: str
    relation: str
    sql: Mapping[str, str]
    types: Mapping[str, str]
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        return [*self.types, *self.unreadable]


def open_table(connection: duckdb.DuckDBPyConnection, role: str, source: Any) -> Table:
    """Make a table scannable.

    Parameters
    ----------
    role
        What the table is to the reader of an error: "reference" or "current".
    source
        A pandas DataFrame, an Arrow table or anything with `__arrow_c_stream__`, a path or glob pattern (str or Path) of
        Parquet, CSV or JSON lines files (text may be gzipped), or a list of those.

    Raises
    ------
    SourceUnreadable
        When a file is absent, empty, damaged, or of no known kind.
    ColumnUnusable
        When two columns have the same name; for files also when they differ in upper and lower case only.
    ComparisonImpossible
        When the source is nothing of the above.
    """
    if isinstance(source, str | Path):
        return _open_files(connection, role, [source])
    if isinstance(source, list | tuple) and source and all(isinstance(path, str | Path) for path in source):
        return _open_files(connection, role, source)
    if hasattr(source, "columns") and hasattr(source, "dtypes") and hasattr(source, "iloc"):
        columns, unreadable = _pandas_columns(role, source)
        return _open_arrow(connection, role, "pandas DataFrame", columns, unreadable)
    if isinstance(source, pa.Table | pa.RecordBatch) or hasattr(source, "__arrow_c_stream__"):
        table = pa.table(source)
        _refuse_twice(role, f"the {role} {type(source).__name__}", table.column_names)
        columns = dict(zip(table.column_names, table.columns, strict=True))
        return _open_arrow(connection, role, type(source).__name__, columns, {})
    raise ComparisonImpossible(
        f"the {role} is a {type(source).__name__}; a pandas DataFrame, an Arrow table, a path, a glob pattern or a list of paths "
        "was expected"
    )


def _open_arrow(
    connection: duckdb.DuckDBPyConnection, role: str, name: str, columns: Mapping[str, Any], unreadable: dict[str, str]
) -> Table:
    """Columns are numbered, so that DuckDB need not tell 'A' from 'a'."""
    sql, types, readable = {}, {}, {}
    for place, (column, given) in enumerate(columns.items()):
        values = given.cast(pa.float32()) if given.type == pa.float16() else given
        try:
            connection.register("one_column", pa.table({"c": values}))
            types[column] = str(connection.execute("DESCRIBE one_column").fetchall()[0][1])
        except (duckdb.Error, pa.ArrowException):
            unreadable[column] = f"of Arrow type {values.type}, which DuckDB cannot read"
            continue
        sql[column], readable[f"c{place}"] = f"c{place}", values
    relation = f"{role}_rows"
    connection.register(relation, pa.table(readable) if readable else pa.table({"nothing": pa.nulls(0)}))
    return Table(role, name, relation, sql, types, unreadable)


def _pandas_columns(role: str, frame: "pd.DataFrame") -> tuple[dict[str, Any], dict[str, str]]:
    _refuse_twice(role, f"the {role} DataFrame", [str(name) for name in frame.columns])
    columns, unreadable = {}, {}
    for place, name in enumerate(frame.columns):
        series = frame.iloc[:, place]
        try:
            columns[str(name)] = _arrow_values(series)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            kinds = Counter(type(value).__name__ for value in series.dropna())
            unreadable[str(name)] = (
                f"of dtype {series.dtype}, holding {', '.join(kind for kind, _ in kinds.most_common(3)) or 'nothing'} "
                f"({str(error).splitlines()[0][:120] if str(error) else type(error).__name__})"
            )
    return columns, unreadable


def _arrow_values(series: "pd.Series[Any]") -> pa.Array:
    if getattr(series.dtype, "kind", "") == "f" and hasattr(series.dtype, "byteorder"):
        return pa.array(series.to_numpy())  # as it is, NaN stays NaN
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowException, OverflowError):
        present = series.dropna()
        texts = {value for value in present if isinstance(value, str)}
        if texts and all(text.strip().lower() in MISSING_MARKS for text in texts):
            return pa.array(
                [str(value) if held else None for value, held in zip(series, series.notna(), strict=True)], pa.string()
            )
        if not all(isinstance(value, Real) or hasattr(value, "is_nan") for value in present):
            raise
        # Whole numbers beyond 64 bits, or fractions among them.
        return pa.array(
            [float(value) if held else None for value, held in zip(series, series.notna(), strict=True)], pa.float64()
        )


def _open_files(connection: duckdb.DuckDBPyConnection, role: str, paths: Sequence[str | Path]) -> Table:
    files = [file for path in paths for file in _files(role, str(path))]
    name = str(paths[0]) if len(paths) == 1 else f"{len(files)} files, {paths[0]} ..."
    kinds = {file: _kind(role, file) for file in files}
    if len(set(kinds.values())) > 1:
        raise SourceUnreadable(f"the {role} mixes {' and '.join(sorted(set(kinds.values())))} files ({name}); give one kind")
    try:
        match kinds[files[0]]:
            case "Parquet":
                relation = _parquet(role, files)
            case "CSV":
                relation = _csv(connection, role, files)
            case _:
                relation = _json_lines(connection, role, files)
        described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    except (duckdb.Error, pa.ArrowException, OSError, EOFError, UnicodeError, csv.Error) as error:
        fault = _text_fault(kinds[files[0]], files)
        if fault is not None:
            raise SourceUnreadable(f"the {role} {fault}") from None
        raise SourceUnreadable(f"the {role} {name} cannot be read: {error_text(error).rstrip(' .')}. Correct the file.") from None
    types = {row[0]: row[1] for row in described if row[0] != SOURCE_FILE}
    if kinds[files[0]] == "JSON lines" and list(types) == ["json"]:
        # DuckDB's name for lines that are no objects, or none at all.
        raise SourceUnreadable(f'the {role} {name} holds no JSON objects; a line such as {{"amount": 1}} per row was expected')
    return Table(role, name, relation, {column: quoted(column) for column in types}, types)


def _text_fault(kind: str, files: Sequence[str]) -> str | None:
    if kind == "Parquet":
        return None
    try:
        delimiters = [_header(files[0])[0] if kind == "CSV" else None]
    except (OSError, EOFError, UnicodeError, csv.Error):
        delimiters = [","]
    try:
        return text_fault(_opened, files, *delimiters)
    except (OSError, EOFError):
        return None


def _files(role: str, path: str) -> list[str]:
    if "://" in path:
        raise SourceUnreadable(f"the {role} {path} is not a local file; fetch it first")
    if Path(path).is_dir():
        raise SourceUnreadable(
            f"the {role} {path} is a folder; name its files by a pattern, such as {path.rstrip('/')}/*.parquet"
        )
    found = [path] if Path(path).is_file() else sorted(file for file in glob.glob(path, recursive=True) if Path(file).is_file())
    if not found:
        raise SourceUnreadable(f"the {role}: no file {'matches' if glob.has_magic(path) else 'at'} {path}")
    empty = [file for file in found if Path(file).stat().st_size == 0]
    if empty:
        raise SourceUnreadable(f"the {role} {empty[0]} is empty (0 bytes)")
    return found


def _kind(role: str, file: str) -> str:
    name = Path(file).name.lower().removesuffix(".gz")
    if name.endswith(CSV_ENDINGS):
        return "CSV"
    if name.endswith(JSON_ENDINGS):
        return "JSON lines"
    with open(file, "rb") as opened:
        is_parquet = opened.read(4) == b"PAR1"
    if not is_parquet:
        what = "is not a Parquet file" if name.endswith((".parquet", ".pq")) else "is neither Parquet, CSV nor JSON lines"
        raise SourceUnreadable(
            f"the {role} {file} {what}; convert it, or name it by what it holds: .parquet, .csv, .csv.gz, .jsonl or .jsonl.gz"
        )
    return "Parquet"


def _parquet(role: str, files: Sequence[str]) -> str:
    for file in files:
        _refuse_twice(role, file, pq.read_schema(file).names, ignoring_case=True)
    # By name, so a number that only one file holds with a fraction is not cut off, and a column that one lacks is missing there.
    return f"read_parquet({_scanned(files)}, union_by_name = true, hive_partitioning = false)"


def _csv(connection: duckdb.DuckDBPyConnection, role: str, files: Sequence[str]) -> str:
    """All rows in a temporary table, typed from all of them: the kernel would else parse the files once per column."""
    headers = {file: _header(file) for file in files}
    for file, (_, names) in headers.items():
        _refuse_twice(role, file, names, ignoring_case=True)
    delimiters = {delimiter for delimiter, _ in headers.values()}
    if len(delimiters) > 1:
        raise SourceUnreadable(f"the {role}: its CSV files have different delimiters, {' and '.join(sorted(delimiters))}")
    options = f"{csv_dialect(*delimiters)}, sample_size = -1, union_by_name = true, {NO_VALUE}"
    scan = f"read_csv({_scanned(files)}, {options})"
    if delimiters == {";"}:
        # Where ; separates values, the decimals may have a comma: as whichever makes more numbers.
        scan = max((scan, f"read_csv({_scanned(files)}, {options}, decimal_separator = ',')"), key=partial(_numbers, connection))
    connection.execute(f"CREATE TEMP TABLE {role}_rows AS SELECT * EXCLUDE ({SOURCE_FILE}) FROM {scan}")
    return f"{role}_rows"


def _numbers(connection: duckdb.DuckDBPyConnection, scan: str) -> int:
    """How many columns of a scan are numbers."""
    return sum(row[1] in {"DOUBLE", "BIGINT"} for row in connection.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall())


def _json_lines(connection: duckdb.DuckDBPyConnection, role: str, files: Sequence[str]) -> str:
    """All rows in a temporary table, for the reason CSV has one. A column of numbers and texts is text, as in CSV."""
    scan = (
        f"read_json({_scanned(files)}, format = '{_json_format(files)}', sample_size = -1, union_by_name = true, "
        "hive_partitioning = false)"
    )
    types = {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()}
    _refuse_twice(role, f"the {role}", types, ignoring_case=True)
    mixed = ", ".join(f"{quoted(name)} ->> '$' AS {quoted(name)}" for name, found in types.items() if found == "JSON")
    connection.execute(f"CREATE TEMP TABLE {role}_rows AS SELECT *{f' REPLACE ({mixed})' if mixed else ''} FROM {scan}")
    return f"{role}_rows"


def _json_format(files: Sequence[str]) -> str:
    """What programs save as .json may be one array of rows."""
    is_array = []
    for file in files:
        with _opened(file) as lines:
            is_array.append(file.lower().removesuffix(".gz").endswith(".json") and lines.read(1_000).lstrip().startswith("["))
    return "array" if all(is_array) else "newline_delimited"


def _header(file: str) -> tuple[str, list[str]]:
    """The delimiter under which the first line has the most names, and these."""
    found = []
    for delimiter in DELIMITERS:
        with _opened(file) as lines:
            found.append((delimiter, next(csv.reader(lines, delimiter=delimiter), [])))
    return max(found, key=lambda pair: len(pair[1]))


def _opened(file: str) -> TextIO:
    if file.lower().endswith(".gz"):
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return open(file, encoding="utf-8-sig", newline="")


def _scanned(files: Sequence[str]) -> str:
    """Each file as a pattern that only it matches."""
    return listed([glob.escape(file) for file in files])


def _refuse_twice(role: str, where: str, names: Iterable[str], ignoring_case: bool = False) -> None:
    kept = [name for name in names if name]
    counted = Counter(name.casefold() if ignoring_case else name for name in kept)
    twice = [name for name in kept if counted[name.casefold() if ignoring_case else name] > 1]
    if twice:
        raise ColumnUnusable(
            f"{where}: columns with the same name{' but for upper and lower case' if len(set(twice)) > 1 else ''}: "
            f"{', '.join(map(repr, twice[:10]))}; rename or drop all but one"
        )
