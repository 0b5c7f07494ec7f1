"""Files that hold rows: which exist, how each is laid out, and the SQL that reads files of one layout together.

Parquet, CSV and JSON lines, gzipped or not. A text file that DuckDB refuses is read line by line into a temporary table first.
"""

import json
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import duckdb

from monitoring_assets.ingestion import lines
from monitoring_assets.ingestion.copies import Copies
from monitoring_assets.warehouse import literal, quoted

if TYPE_CHECKING:
    import pyarrow as pa

# Columns a scan adds: the file of each row; of text that was read line by line also the line, and what is wrong with it.
SOURCE_FILE, LINE, FAULT = "__source_file", "__line", "__fault"

# What may separate the values of a CSV file: the first under which the header holds every column needed.
DELIMITERS = (",", ";", "\t", "|")
# A character that JSON cannot hold as it is: the lines of a file as a CSV of one column.
NO_DELIMITER = "\x01"
# How much text is handed to DuckDB at once.
BATCH_CHARACTERS = 8 << 20


@dataclass(frozen=True)
class Layout:
    """What files must share to be read in one scan.

    `columns` are (name, type) pairs; of JSON lines only those asked for, and the type is the one their text is taken from.
    `partitions` are columns that stand in the path (`country=US/`) and not in the file. With `table` the rows are in that
    temporary table. Files of which there are `copies` are read there.
    """

    format: Literal["parquet", "csv", "jsonl", "arrow"]
    columns: tuple[tuple[str, str], ...]
    delimiter: str | None = None
    partitions: tuple[str, ...] = ()
    table: str | None = None
    copies: Copies | None = None

    @property
    def types(self) -> dict[str, str]:
        """Column -> DuckDB type, as a scan gives them."""
        kinds = {name: "VARCHAR" if self.format == "jsonl" else kind for name, kind in self.columns}
        return kinds | dict.fromkeys(self.partitions, "VARCHAR")

    @property
    def has_lines(self) -> bool:
        """Whether a scan has the columns `LINE` and `FAULT`."""
        return self.format == "jsonl" or (self.format == "csv" and self.table is not None)

    def scan(self, files: Sequence[str]) -> str:
        """The rows as a relation, with `SOURCE_FILE`. CSV and JSON stay text: the contract says what it means."""
        rows = self.lines(files)
        if self.format == "jsonl":
            rows = _parsed_sql(rows, self.columns, is_staged=self.table is not None)
        if self.partitions:
            values = ", ".join(f"{_partition_sql(name)} AS {quoted(name)}" for name in self.partitions)
            rows = f"(SELECT *, {values} FROM {rows})"
        return rows

    def lines(self, files: Sequence[str]) -> str:
        """The rows as they are in the files; of JSON lines, the lines."""
        if self.table:
            return quoted(self.table)
        if self.copies is None:
            return self._read(files)
        return self.copies.renamed_sql(self._read([self.copies.place(file) for file in files]), SOURCE_FILE)

    def _read(self, files: Sequence[str]) -> str:
        if self.format == "parquet":
            return f"read_parquet({listed(files)}, filename = '{SOURCE_FILE}', hive_partitioning = false)"
        if self.format == "jsonl":
            return _lines_sql(files)
        declared = ", ".join(f"{literal(name)}: 'VARCHAR'" for name, _ in self.columns)
        return f"read_csv({listed(files)}, auto_detect = false, columns = {{{declared}}}, {csv_dialect(str(self.delimiter))})"


@dataclass(frozen=True)
class Contents:
    """What one file holds: its layout, and the columns nobody asked for."""

    layout: Layout
    others: tuple[str, ...]


def absence(path: str) -> str:
    return f"no file at {path}"


def contents_of(
    connection: duckdb.DuckDBPyConnection,
    path: str,
    types: Mapping[str, str],
    optional: Collection[str],
    copies: Copies | None = None,
) -> Contents | str:
    """What a file holds of the columns asked for, or why it cannot be used."""
    refusal, place = (copies.refusal(path), copies.place(path)) if copies else (None, path)
    if refusal:
        return f"cannot be read: {refusal}"
    if refusal == "" or (is_local(place) and not Path(place).exists()):
        return absence(path)
    if is_local(place) and Path(place).stat().st_size == 0:
        return "the file is empty (0 bytes)"
    try:
        if path.endswith(".parquet"):
            return _parquet(connection, path, types, optional, copies)
        of_text = _csv if path.endswith((".csv", ".csv.gz")) else _jsonl
        return of_text(connection, path, types, optional, copies)
    except (duckdb.Error, OSError, EOFError, zlib.error) as error:
        return f"cannot be read: {error_text(error).replace(place, path)}"


def line_by_line(connection: duckdb.DuckDBPyConnection, layout: Layout, path: str, table: str) -> Layout:
    """Read a text file that DuckDB refuses into a temporary table, in which broken lines are rows with a fault.

    Raises
    ------
    OSError, EOFError, zlib.error
        Where the file itself is damaged.
    """
    import pyarrow as pa

    columns = layout.columns if layout.format == "csv" else ()
    place = layout.copies.place(path) if layout.copies else path
    rows = lines.csv_rows(lines.text_lines(place), str(layout.delimiter), len(columns)) if columns else _whole_lines(place)
    names = [*(f"column{place}" for place in range(len(columns))), LINE, FAULT]
    batches = pa.RecordBatchReader.from_batches(pa.schema([(name, pa.string()) for name in names]), _batches(rows, names))
    selected = ", ".join(f"column{place} AS {quoted(name)}" for place, (name, _) in enumerate(columns))
    connection.register("arriving", batches)
    try:
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {quoted(table)} AS "
            f"SELECT {selected + ', ' if selected else ''}{LINE}, {FAULT}, {literal(path)} AS {SOURCE_FILE} FROM arriving"
        )
    finally:
        connection.unregister("arriving")
    return replace(layout, table=table)


def is_local(path: str) -> bool:
    return "://" not in path


def error_text(error: Exception) -> str:
    """What went wrong, without advice: the first line, and for CSV the line of the file."""
    text = str(error)
    if "httpfs" in text:
        return (
            "DuckDB reads such addresses with its extension httpfs, which is not installed here; with access to the network, "
            "run this once: python -c \"import duckdb; duckdb.sql('INSTALL httpfs')\""
        )
    printable = ["".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in text.splitlines()]
    kept = [line for line in printable[1:] if line.startswith(("Original Line", "Expected Number", "Value when"))]
    return "; ".join([printable[0], *kept])[:500] if printable else type(error).__name__


def lacking(found: Collection[str], types: Mapping[str, str], optional: Collection[str], where: str = "the file") -> str:
    """Which of the columns asked for are missing, in words; empty when none is."""
    missing = [name for name in types if name not in {*found, *optional}]
    if not missing:
        return ""
    return f"column {', '.join(map(repr, missing))} is not in {where}; it has {', '.join(map(repr, found))}"[:1000]


def _parquet(
    connection: duckdb.DuckDBPyConnection,
    path: str,
    types: Mapping[str, str],
    optional: Collection[str],
    copies: Copies | None,
) -> Contents | str:
    described = connection.execute(f"DESCRIBE SELECT * FROM {Layout('parquet', (), copies=copies).scan([path])}").fetchall()
    columns = {row[0]: row[1] for row in described if row[0] != SOURCE_FILE}
    return _contents(Layout("parquet", tuple(columns.items()), copies=copies), path, list(columns), types, optional)


def _csv(
    connection: duckdb.DuckDBPyConnection,
    path: str,
    types: Mapping[str, str],
    optional: Collection[str],
    copies: Copies | None,
) -> Contents | str:
    first = list(_first_lines(connection, copies.place(path) if copies else path))
    reasons = []
    for delimiter in DELIMITERS:
        header = lines.header_of(first, delimiter)
        if header is None:
            reasons.append("cannot be read: the first line holds no names of columns")
            continue
        twice = [name for name, times in Counter(header).items() if times > 1 and name in types]
        if twice:
            return f"column {', '.join(map(repr, twice))} is in the header more than once"
        names = lines.distinct_names(header)
        as_text = tuple((name, "VARCHAR") for name in names)
        found = _contents(Layout("csv", as_text, delimiter, copies=copies), path, names, types, optional)
        if isinstance(found, Contents):
            return found
        reasons.append(found)
    return reasons[0]


def _jsonl(
    connection: duckdb.DuckDBPyConnection,
    path: str,
    types: Mapping[str, str],
    optional: Collection[str],
    copies: Copies | None,
) -> Contents | str:
    # A value that may be a code or an id keeps its JSON form, in which 7.0 and "7.0" differ.
    layout = Layout("jsonl", (), copies=copies)
    try:
        keys = _keys(connection, layout, path)
    except duckdb.Error:
        if not is_local(copies.place(path) if copies else path):
            raise
        layout = line_by_line(connection, layout, path, staged_name(connection))
        keys = _keys(connection, layout, path)
    if not keys:
        return "cannot be read: no line is a JSON object with values"
    columns = tuple((name, "JSON" if kind == "VARCHAR" else "VARCHAR") for name, kind in types.items() if name in keys)
    return _contents(replace(layout, columns=columns), path, keys, types, optional)


def _keys(connection: duckdb.DuckDBPyConnection, layout: Layout, path: str) -> list[str]:
    rows = layout.lines([path])
    found = connection.execute(f"SELECT DISTINCT try(json_keys({LINE})) FROM {rows} WHERE trim({LINE}) <> ''").fetchall()
    return sorted({key for (keys,) in found for key in keys or []})


def _contents(
    layout: Layout, path: str, found: Sequence[str], types: Mapping[str, str], optional: Collection[str]
) -> Contents | str:
    partitions = tuple(name for name in types if name not in found and f"/{name}=" in f"/{path}")
    missing = lacking([*found, *partitions], types, optional)
    return missing or Contents(replace(layout, partitions=partitions), tuple(n for n in found if n not in types))


def _first_lines(connection: duckdb.DuckDBPyConnection, path: str) -> Iterator[lines.Line]:
    if is_local(path):
        for number, line in enumerate(lines.text_lines(path)):
            yield line
            if number == 100:
                return
    else:
        found = connection.execute(f"SELECT {LINE} FROM {_lines_sql([path])} LIMIT 1").fetchall()
        yield from ((line, None) for (line,) in found)


def _lines_sql(files: Sequence[str]) -> str:
    return (
        f"read_csv({listed(files)}, auto_detect = false, columns = {{'{LINE}': 'VARCHAR'}}, header = false, "
        f"delim = '{NO_DELIMITER}', quote = '', escape = '', comment = '', hive_partitioning = false, filename = '{SOURCE_FILE}')"
    )


def _parsed_sql(rows: str, columns: Sequence[tuple[str, str]], is_staged: bool) -> str:
    """Lines of JSON as columns of text. A line that is no JSON object has a fault."""
    structure = literal(json.dumps(dict(columns) or {"": "VARCHAR"}))
    values = "".join(f", {_text_sql(f'__parsed.{quoted(name)}', kind)} AS {quoted(name)}" for name, kind in columns)
    known = f"WHEN {FAULT} IS NOT NULL THEN 'broken line: ' || {FAULT} " if is_staged else ""
    fault = (
        f"CASE {known}WHEN __parsed IS NULL THEN 'broken line: not JSON' "
        f"WHEN NOT starts_with(ltrim({LINE}), '{{') THEN 'broken line: not a JSON object' END"
    )
    return (
        f"(SELECT {SOURCE_FILE}, {LINE}, {fault} AS {FAULT}{values} FROM "
        f"(SELECT *, try(from_json({LINE}, {structure})) AS __parsed FROM {rows} WHERE trim({LINE}) <> ''))"
    )


def _text_sql(value: str, kind: str) -> str:
    """The text of a JSON value; a whole number written as 7.0 has the text of the whole number, as in the other formats."""
    if kind == "VARCHAR":
        return value
    number = f"TRY_CAST({value} AS DOUBLE)"
    whole = f"json_type({value}) = 'DOUBLE' AND abs({number}) < 9e15 AND {number} = trunc({number})"
    return f"CASE WHEN {whole} THEN CAST(CAST({number} AS BIGINT) AS VARCHAR) ELSE {value} ->> '$' END"


def _partition_sql(name: str) -> str:
    pattern = f"(?:^|/){re.escape(name)}=([^/]*)/"
    value = f"url_decode(regexp_extract({SOURCE_FILE}, {literal(pattern)}, 1))"
    return f"CASE WHEN {value} <> '__HIVE_DEFAULT_PARTITION__' THEN {value} END"


def _whole_lines(path: str) -> Iterator[lines.Row]:
    for text, fault in lines.text_lines(path):
        yield [], text.rstrip("\r\n"), fault


def _batches(rows: Iterator[lines.Row], names: Sequence[str]) -> Iterator["pa.RecordBatch"]:
    """Rows as Arrow batches of bounded size: their values, and the line of those that are broken or stay whole."""
    import pyarrow as pa

    width = len(names) - 2
    gathered: list[list[str | None]] = []
    size = 0
    for values, text, fault in rows:
        kept = text if values is None or not width else None
        gathered.append([*(values if values is not None else [None] * width), kept, fault])
        size += len(text) + 100
        if size > BATCH_CHARACTERS:
            yield pa.record_batch([pa.array(column, pa.string()) for column in zip(*gathered, strict=True)], names=list(names))
            gathered, size = [], 0
    if gathered:
        yield pa.record_batch([pa.array(column, pa.string()) for column in zip(*gathered, strict=True)], names=list(names))


def staged_name(connection: duckdb.DuckDBPyConnection) -> str:
    """A name for the next temporary table of staged rows."""
    (count,) = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE temporary").fetchall()[0]
    return f"__staged_{count}"


def csv_dialect(delimiter: str) -> str:
    """RFC 4180. DuckDB's sniffer would leave out lines that start with # and, to make a file fit, its first or last lines."""
    return (
        f"header = true, delim = {literal(delimiter)}, quote = '\"', escape = '\"', comment = '', skip = 0, "
        f"null_padding = false, strict_mode = true, hive_partitioning = false, filename = '{SOURCE_FILE}'"
    )


def listed(files: Sequence[str]) -> str:
    return "[" + ", ".join(map(literal, files)) + "]"
