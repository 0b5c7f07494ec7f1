"""Text files line by line: DuckDB reads a file whole or not at all; here a broken line costs only itself.

This is ten times slower than DuckDB, so it is used for files that DuckDB refused. It separates lines and values; `contract.py`
says what a value must be.
"""

import gzip
import re
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from typing import IO, cast

# A line is read in pieces no longer than this; a record whose quotes span more lines is taken for a quote that never ends.
LONGEST_LINE = 64 << 20
LONGEST_RECORD_LINES = 10_000

# A line's text, and what is wrong with it as text.
Line = tuple[str, str | None]
# The values of a row (None where it is broken), its text, and what is wrong with it.
Row = tuple[list[str | None] | None, str, str | None]


def header_of(lines: Iterable[Line], delimiter: str) -> list[str] | None:
    """The values of the first line, or None where it is no row.

    >>> header_of([('id;"the; amount"', None)], ";")
    ['id', 'the; amount']
    """
    text, fault = _next_record(deque(), iter(lines), delimiter, None) or ("", "no line")
    return None if fault else values_of(_without_end(text), delimiter)


def distinct_names(header: Iterable[str]) -> list[str]:
    """Names of columns, as SQL can tell them apart: a repeated one is numbered, a blank one is called by its place.

    >>> distinct_names(["id", "Id", "", "id"])
    ['id', 'Id_1', 'column2', 'id_2']
    """
    names: list[str] = []
    taken: set[str] = set()
    for place, given in enumerate(header):
        stem = name = (given.strip() and given) or f"column{place}"
        copies = 0
        while name.casefold() in taken:
            copies += 1
            name = f"{stem}_{copies}"
        names.append(name)
        taken.add(name.casefold())
    return names


def csv_rows(lines: Iterable[Line], delimiter: str, width: int) -> Iterator[Row]:
    """The rows behind the header, as RFC 4180 has them. A row without `width` values is broken; empty lines are no rows.

    A quote that does not end breaks its own line only, not all that follow.

    >>> given = ["a,b\\n", '1,"x\\n', 'y"\\n', "1\\n", '2,"x\\n', "3,\\n"]
    >>> for row in csv_rows([(text, None) for text in given], ",", 2): print(row)
    (['1', 'x\\ny'], '1,"x\\ny"', None)
    (None, '1', 'broken line: 1 value(s), 2 expected')
    (None, '2,"x', 'broken line: a quote does not end')
    (['3', None], '3,', None)
    """
    ahead, rest = deque[Line](), iter(lines)
    _next_record(ahead, rest, delimiter, None)
    while (record := _next_record(ahead, rest, delimiter, width)) is not None:
        text, fault = record
        text = _without_end(text)
        row = None if fault else _row(text, delimiter, width)
        if row is not None:
            yield [value or None for value in row], text, None
        elif text:
            values = values_of(text, delimiter)
            counted = (
                "quotes inside a quoted value must be doubled" if values is None else f"{len(values)} value(s), {width} expected"
            )
            yield None, text, f"broken line: {fault or counted}"


def values_of(text: str, delimiter: str) -> list[str] | None:
    """The values of one row, or None where its quotes do not fit.

    >>> values_of('1,"a ""b"", c",', ","), values_of('"a"b', ",")
    (['1', 'a "b", c', ''], None)
    """
    if '"' not in text:
        return text.split(delimiter)
    values, place, pattern = [], 0, _value_pattern(delimiter)
    while (found := pattern.match(text, place)) is not None:
        quoted, plain = found.group(1), found.group(2)
        values.append(plain if quoted is None else quoted.replace('""', '"'))
        place = found.end()
        if place == len(text):
            return values
        place += len(delimiter)
    return None


def text_lines(path: str) -> Iterator[Line]:
    """The lines of a file, ends included. Bytes that are not UTF-8 are spelled out, as \\xff.

    Raises
    ------
    OSError, EOFError, zlib.error
        Where the file cannot be read or is not what gzip compressed.
    """
    with cast(IO[bytes], gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")) as file:
        first = True
        while piece := file.readline(LONGEST_LINE):
            too_long = len(piece) == LONGEST_LINE and not piece.endswith(b"\n")
            for line in (piece.removeprefix(b"\xef\xbb\xbf") if first else piece).splitlines(keepends=True):
                text, fault = _decoded(line)
                yield text, f"longer than {LONGEST_LINE >> 20} MB" if too_long and len(line) == len(piece) else fault
            first = False


def _decoded(line: bytes) -> Line:
    try:
        return line.decode(), None
    except UnicodeDecodeError:
        return line.decode(errors="backslashreplace"), "not UTF-8"


def _next_record(ahead: deque[Line], rest: Iterator[Line], delimiter: str, width: int | None) -> Line | None:
    """The next line, or as many as a quoted value spans. `ahead` holds lines that were read ahead and belong to no record yet."""
    first = ahead.popleft() if ahead else next(rest, None)
    if first is None or first[1] or first[0].count('"') % 2 == 0 or _row(first[0], delimiter, width) is not None:
        return first
    joined = [first[0]]
    for fetched in range(LONGEST_RECORD_LINES):
        if fetched == len(ahead):
            line = next(rest, None)
            if line is None:
                break
            ahead.append(line)
        text, fault = ahead[fetched]
        joined.append(text)
        if fault:
            break
        if text.count('"') % 2:
            # Here the quotes are even again, so the record ends here or the first quote was none that opens a value.
            if _row("".join(joined), delimiter, width) is None:
                break
            for _ in joined[1:]:
                ahead.popleft()
            return "".join(joined), None
    return first[0], "a quote does not end"


def _row(text: str, delimiter: str, width: int | None) -> list[str] | None:
    """The values of a record, None where it is none. As in DuckDB, delimiters may end it."""
    values = values_of(_without_end(text), delimiter)
    if values is not None and width is not None:
        return values[:width] if len(values) >= width and not any(values[width:]) else None
    return values


def _without_end(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


@cache
def _value_pattern(delimiter: str) -> re.Pattern[str]:
    end = re.escape(delimiter)
    return re.compile(rf' *"((?:[^"]|"")*)" *(?={end}|\Z)|(?! *")([^{end}]*)(?={end}|\Z)')
