"""The files that hold a monitor's rows: a Parquet file per day, table and asset, in an object store or a folder.

A file never changes once it is there. Which of them count is recorded in the warehouse, by `kept_rows.py`.
"""

import os
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from uuid import uuid4

from monitoring_assets.errors import ObjectGone, StorageRefused
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.object_storage import delete, fetch, for_each, is_object, objects_under, put

# A file that no record names may be one that is about to be recorded; after so many seconds it is not.
ORPHAN_SECONDS = 3_600.0
GONE = (
    "is recorded, and not there: a later run has replaced it, or somebody has deleted it. Run this again; if it stays so, "
    "materialise inference_log of its day."
)


@dataclass(frozen=True)
class RowFiles:
    """The files of one monitor below an address or a folder, by their paths from there on."""

    root: str

    @classmethod
    def of(cls, spec: MonitorSpec) -> "RowFiles":
        if spec.rows is None:
            raise ValueError(f"{spec.name} keeps its rows in the warehouse")
        return cls(f"{spec.resolve(spec.rows.path).rstrip('/')}/{spec.name}/")

    @property
    def are_objects(self) -> bool:
        return is_object(self.root)

    def new_path(self, name: str, asset: str, day: date) -> str:
        """A path that no file has had."""
        part = "" if asset == name else f"asset={asset}/"
        return f"{name}/{part}day={day}/{uuid4().hex}.parquet"

    def add(self, files: Sequence[tuple[Path, str]]) -> None:
        """Store files of this machine, each at its path, whole or not at all.

        Raises
        ------
        StorageRefused, StorageUnavailable
        """
        for_each(self._add, files)

    def _add(self, pair: tuple[Path, str]) -> None:
        file, path = pair
        if self.are_objects:
            put(file, self.root + path)
            return
        target = Path(self.root + path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            arriving = target.with_suffix(".arriving")
            with file.open("rb") as given, arriving.open("wb") as kept:
                while block := given.read(1 << 22):
                    kept.write(block)
                kept.flush()
                os.fsync(kept.fileno())
            os.replace(arriving, target)
        except OSError as error:
            raise StorageRefused(
                f"{target} cannot be written: {error.strerror or error}. Correct the folder `rows.path`, or its permissions."
            ) from None

    def places(self, paths: Sequence[str], folder: Path, known: dict[str, Path]) -> dict[str, Path]:
        """Where the files can be read on this machine; objects that are not `known` to be are copied into the folder.

        Raises
        ------
        ObjectGone
            When a file is not there any more: a later run has replaced it.
        StorageRefused, StorageUnavailable
        """
        if not self.are_objects:
            found = {path: known.get(path, Path(self.root + path)) for path in paths}
            for path, place in found.items():
                if not place.exists():
                    raise ObjectGone(f"{self.root}{path} {GONE}")
            return found
        missing = [path for path in paths if path not in known]
        copies = {path: folder / path.replace("/", "-") for path in missing}
        for_each(lambda path: self._fetch(path, copies[path]), missing)
        return {path: known.get(path) or copies[path] for path in paths}

    def _fetch(self, path: str, place: Path) -> None:
        try:
            fetch(self.root + path, place)
        except ObjectGone:
            raise ObjectGone(f"{self.root}{path} {GONE}") from None

    def remove(self, paths: Sequence[str]) -> None:
        """Delete files; one that is gone already is none to delete."""
        for_each(self._remove, paths)

    def _remove(self, path: str) -> None:
        if self.are_objects:
            delete(self.root + path)
            return
        target = Path(self.root + path)
        target.unlink(missing_ok=True)
        with suppress(OSError):  # other files of the day
            target.parent.rmdir()

    def orphans(self, recorded: Collection[str], older_than: float = ORPHAN_SECONDS) -> list[str]:
        """The files that no record names and that are old enough not to be about to get one: what killed runs left."""
        until_ns = (time.time() - older_than) * 1e9
        return [path for path, modified_ns in self._present() if path not in recorded and modified_ns <= until_ns]

    def _present(self) -> list[tuple[str, int]]:
        if self.are_objects:
            return [(each.path.removeprefix(self.root), each.modified_ns) for each in objects_under(self.root)]
        found = [file for file in Path(self.root).rglob("*") if file.suffix in {".parquet", ".arriving"}]
        return [(file.relative_to(self.root).as_posix(), file.stat().st_mtime_ns) for file in found]
