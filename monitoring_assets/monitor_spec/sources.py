"""Where the log, the labels and the reference lie."""

import re
from datetime import date
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from monitoring_assets.monitor_spec.parts import DottedPath, SpecModel
from monitoring_assets.object_storage import SCHEMES, is_object

FORMATS = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")


def _readable(path: str) -> str:
    if not path.endswith(FORMATS):
        raise ValueError(f"must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, found {path!r}")
    return _without_credentials(path)


def _without_credentials(path: str) -> str:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*@", path) and not re.match(r"abfss?://[^/@:]+@[^/@:]+/", path):
        raise ValueError("an address may not hold a user or a password; those come from the environment (docs/sources.md)")
    return path


class Source(SpecModel):
    """Where rows come from: files (`path`), a query (`sql` and `uri_env`), a function (`reader`), or a table of the monitor's
    `engine` (`table`). See docs/sources.md.

    path : Parquet, CSV or JSON lines. A relative path starts at the data folder (`MONITORING_ASSETS_HOME`). `{day}` stands for
        the partition's date, which lets a day be read without touching the others; without it the path is a glob and every
        file is scanned for the day's rows.
    sql, uri_env : a PostgreSQL query with `$1` for the start of the day and `$2` for its end (the next day's start), and the
        environment variable that holds the address of the database.
    reader, options : the dotted path of a function `(day, options)` that gives the day's rows.
    table, day_column : a table as Spark's session names it, `catalog.db.predictions` or "delta.`s3://lake/predictions`", and its
        column that says which day a row was delivered for, a date or its text (2026-03-02); best one it is partitioned by.
    settle_seconds : a file modified within so many seconds is perhaps still being written, and waits.
    asset : the Dagster asset of yours that makes these rows; it becomes upstream in the lineage.
    """

    path: str | None = None
    sql: str | None = None
    uri_env: str | None = None
    reader: DottedPath | None = None
    options: dict[str, Any] = {}
    table: str | None = Field(default=None, min_length=1)
    day_column: str = Field(default="day", min_length=1)
    asset: str | None = Field(default=None, pattern=r"^[^/\s]+(/[^/\s]+)*$")
    event_time: str | None = None
    settle_seconds: float = Field(default=5.0, ge=0, le=86_400)

    @field_validator("path")
    @classmethod
    def _known_format(cls, path: str | None) -> str | None:
        if path is None:
            return None
        unknown = set(re.findall(r"{(.*?)}", path)) - {"day"}
        if unknown:
            raise ValueError(f"only {{day}} may stand in braces, found {sorted(unknown)}")
        return _readable(path)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        # What is found is not repeated here: somebody may have put the address itself where its variable's name belongs.
        given = [name for name in ("path", "sql", "reader", "table") if getattr(self, name) is not None]
        if len(given) != 1:
            where = " that tells where the asset's data lies" if self.asset else ""
            raise ValueError(f"give one of `path`, `sql`, `reader` and `table`{where}, found {' and '.join(given) or 'none'}")
        if (self.sql is None) != (self.uri_env is None):
            raise ValueError("`sql` and `uri_env` (the environment variable that holds the database's address) go together")
        if self.uri_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.uri_env):
            raise ValueError("uri_env must be the name of an environment variable, such as FRAUD_DB, never the address itself")
        if self.sql is not None and not {"$1", "$2"} <= set(re.findall(r"\$\d+", self.sql)):
            raise ValueError("sql needs $1 and $2, the start and the end of the day: ... WHERE at >= $1 AND at < $2")
        if self.options and self.reader is None:
            raise ValueError("`options` are for a `reader`")
        if "settle_seconds" in self.model_fields_set and self.path is None:
            raise ValueError("`settle_seconds` is for files (`path`)")
        if self.day_column != "day" and self.table is None:
            raise ValueError("`day_column` is for a `table`")
        return self

    @property
    def kind(self) -> Literal["path", "sql", "reader", "table"]:
        """The setting that says where the rows lie."""
        if self.table is not None:
            return "table"
        return "path" if self.path is not None else "sql" if self.sql is not None else "reader"

    @property
    def is_per_day(self) -> bool:
        """Whether a day can be read without touching the others."""
        return self.path is None or "{day}" in self.path

    @property
    def is_watched(self) -> bool:
        """Whether new files can be seen without reading anything: they lie on this machine or in an object store."""
        return self.path is not None and ("://" not in self.path or is_object(self.path))


class Rows(SpecModel):
    """Where the rows of `inference_log` and `quarantine` are kept instead of in the warehouse: a Parquet file per day.

    path : a folder, or an address such as s3://bucket/monitoring; what follows is the monitor's own. A relative path starts at
        the data folder.
    """

    path: str

    @field_validator("path")
    @classmethod
    def _usable(cls, path: str) -> str:
        if "://" in path and not is_object(path):
            raise ValueError(
                f"rows are kept in a folder or at an address that begins with {', '.join(f'{s}://' for s in SCHEMES)}"
            )
        if re.search(r"[*?\[\]{}]", path) or not path.strip():
            raise ValueError("rows.path is one folder, without patterns and without {day}")
        return _without_credentials(path)


class Reference(SpecModel):
    """What counts as normal: a file of its own, or a range of days of the prediction log (both ends included)."""

    path: str | None = None
    first_day: date | None = None
    last_day: date | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.first_day is None and self.last_day is None):
            raise ValueError("reference: give either `path`, or both `first_day` and `last_day`")
        if self.path is None:
            if self.first_day is None or self.last_day is None:
                raise ValueError("reference: a range needs both `first_day` and `last_day`")
            if self.first_day > self.last_day:
                raise ValueError(f"first_day {self.first_day} is after last_day {self.last_day}")
        elif "{" in self.path:
            raise ValueError("the reference is one file or glob, without {day}")
        else:
            _readable(self.path)
        return self
