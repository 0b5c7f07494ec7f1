"""Predictions by the model that made them: where the log names versions, each is a segment of the predictions' profiles.

So the predictions of one model can be compared alone, on the day it took over and beside another that serves at the same time.
Which model's are compared is not known here.
"""

from collections.abc import Sequence

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.sql_text import quoted

BESIDE = " & "


def version_segments(spec: MonitorSpec) -> list[str]:
    """The columns that `rows_by_version` adds, or fills: the version, and each segment column with it."""
    version = spec.prediction.model_version
    return [] if version is None else [version, *(f"{column}{BESIDE}{version}" for column in spec.segments)]


def rows_by_version(spec: MonitorSpec, rows: str) -> str:
    """A relation with the columns of `version_segments`; '' is the version of rows of which the log names none."""
    version = spec.prediction.model_version
    if version is None:
        return rows
    named = f"coalesce({quoted(version)}, '')"
    beside = "".join(
        f", {quoted(column)} || '{BESIDE}' || {named} AS {quoted(f'{column}{BESIDE}{version}')}" for column in spec.segments
    )
    return f"(SELECT * REPLACE ({named} AS {quoted(version)}){beside} FROM {rows})"


def segments_of_version(spec: MonitorSpec, model_version: str, segments: Sequence[str]) -> dict[str, str | None]:
    """The segments that hold a version's predictions, each with the segment it is the version's part of (None: all rows). Rows
    of which the log names no version count as the version's.

    `segments` are of the form 'column=value'.

    >>> spec = MonitorSpec.model_validate({
    ...     "name": "fraud", "id": "id", "event_time": "at", "start_day": "2026-01-01",
    ...     "features": {"country": {"kind": "categorical"}}, "segments": ["country"],
    ...     "prediction": {"score": "score", "model_version": "model"}, "log": {"path": "/logs/{day}.parquet"},
    ...     "reference": {"path": "/reference.parquet"},
    ... })
    >>> segments_of_version(spec, "3", ["country=US"])
    {'model=3': None, 'country & model=US & 3': 'country=US', 'model=': None, 'country & model=US & ': 'country=US'}
    """
    version, found = spec.prediction.model_version, dict[str, str | None]()
    for value in (model_version, "") if version else ():
        found[f"{version}={value}"] = None
        for segment in segments:
            column, of = segment.split("=", 1)
            found[f"{column}{BESIDE}{version}={of}{BESIDE}{value}"] = segment
    return found
