"""Copies of objects on this machine while their rows are read: every format, and every fault in it, is then that of a file.

An object is fetched once, however often its rows are read. Which objects there are is found in `present_files.py`.
"""

from collections.abc import Iterable
from pathlib import Path

from monitoring_assets.errors import ObjectGone, StorageRefused
from monitoring_assets.object_storage import fetch, for_each, is_object
from monitoring_assets.sql_text import literal

DIGITS = 9


class Copies:
    """The copies in a folder, which is the caller's to remove."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "objects"
        self._names: list[str] = []
        self._places: dict[str, Path | str] = {}

    def fetch(self, paths: Iterable[str]) -> None:
        """Copy objects that were listed.

        Raises
        ------
        ObjectGone
            When one has been removed since.
        StorageUnavailable
        """
        new = [path for path in dict.fromkeys(paths) if is_object(path) and path not in self._places]
        self._folder.mkdir(exist_ok=True)
        first = len(self._names)
        self._names += new
        for_each(self._fetch, list(enumerate(new, first)))

    def fetch_where_present(self, paths: Iterable[str]) -> None:
        """Copy objects, of which some may not be there."""
        for path in paths:
            try:
                self.fetch([path])
            except ObjectGone:
                self._places[path] = ""

    def _fetch(self, numbered: tuple[int, str]) -> None:
        number, path = numbered
        place = self._folder / f"{number:0{DIGITS}}{''.join(Path(path).suffixes[-2:])}"
        try:
            fetch(path, place)
            self._places[path] = place
        except StorageRefused as error:  # of this object; the others may be allowed
            self._places[path] = str(error)

    def place(self, path: str) -> str:
        """Where the rows of a path are on this machine."""
        found = self._places.get(path, path)
        return str(found)

    def refusal(self, path: str) -> str | None:
        """Why there is no copy of an object: empty where there is no object. None where there is one, or no need of one."""
        found = self._places.get(path)
        return found if isinstance(found, str) else None

    def renamed_sql(self, rows: str, column: str) -> str:
        """The rows of a scan of copies, with the objects' names in the column that holds the files' own."""
        start = len(str(self._folder)) + 2
        names = "[" + ", ".join(map(literal, self._names)) + "]"
        of_copy = f"CAST(substr({column}, {start}, {DIGITS}) AS INTEGER) + 1"
        is_copy = f"starts_with({column}, {literal(str(self._folder))})"
        return f"(SELECT * REPLACE (CASE WHEN {is_copy} THEN {names}[{of_copy}] ELSE {column} END AS {column}) FROM {rows})"
