"""What is wrong with a text file that cannot be read, and on which line: its encoding, a line of another length, broken JSON.

Only looked for once reading has failed; reading itself is in `tables.py`.
"""

import csv
import json
from collections.abc import Callable, Iterable
from typing import TextIO

from monitoring_assets.wording import printable, shortened


def text_fault(opened: Callable[[str], TextIO], files: Iterable[str], delimiter: str | None) -> str | None:
    """The first fault of text files, with its remedy; None where none is found. JSON lines have no `delimiter`."""
    for file in files:
        with opened(file) as lines:
            try:
                fault = _json_fault(lines) if delimiter is None else _csv_fault(lines, delimiter)
            except UnicodeDecodeError as error:
                found = error.object[error.start]
                likely = "utf-16" if found >= 0xFE else "latin1"
                fault = f"is not UTF-8 text (byte 0x{found:02x}); convert it, for example by `iconv -f {likely} -t utf-8`"
            except csv.Error as error:
                fault = f"is no CSV: {error}"
        if fault is not None:
            return f"{file} cannot be read: it {fault}"
    return None


def _csv_fault(lines: TextIO, delimiter: str) -> str | None:
    rows = csv.reader(lines, delimiter=delimiter)
    names = next(rows, [])
    for row in rows:
        if row and len(row) != len(names):
            return (
                f"has {len(row)} value{'s' if len(row) != 1 else ''} on line {rows.line_num}, its first line {len(names)} names "
                f"(separated by {delimiter!r}); correct that line"
            )
    return None


def _json_fault(lines: TextIO) -> str | None:
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line) if line.strip() else {}
        except ValueError as error:
            return f"has no JSON on line {number}, {_shown(line)} ({str(error).split(':')[0]}); correct that line"
        if not isinstance(value, dict):
            return f'has no object such as {{"amount": 1}} on line {number}, {_shown(line)}; correct that line'
    return None


def _shown(line: str) -> str:
    return f"'{printable(shortened(line.strip()))}'"
