"""Where the log, the labels and the reference lie."""

import re
from datetime import date
from typing import Self

from pydantic import field_validator, model_validator

from monitoring_assets.monitor_spec.parts import SpecModel


def _readable(path: str) -> str:
    if not re.search(r"\.(parquet|csv|csv\.gz)$", path):
        raise ValueError(f"must end in .parquet, .csv or .csv.gz, found {path!r}")
    return path


class Source(SpecModel):
    """Parquet or CSV files. A relative path starts at the data folder (`MONITORING_ASSETS_HOME`).

    `{day}` in the path stands for the partition's date, which lets a day be read without touching the others; without
    it the path is a glob and every file is scanned for the day's rows.
    """

    path: str
    event_time: str | None = None

    @field_validator("path")
    @classmethod
    def _known_format(cls, path: str) -> str:
        unknown = set(re.findall(r"{(.*?)}", path)) - {"day"}
        if unknown:
            raise ValueError(f"only {{day}} may stand in braces, found {sorted(unknown)}")
        return _readable(path)

    @property
    def is_per_day(self) -> bool:
        return "{day}" in self.path


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
