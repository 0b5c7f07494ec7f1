"""The prediction log of some days: from its source into `inference_log`, what breaks the contract into `quarantine`."""

import glob
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from monitoring_assets.ingestion.contract import Rules
from monitoring_assets.ingestion.staging import Contract, Staged, staged
from monitoring_assets.measuring.exact_sums import LARGEST_WEIGHT
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.object_storage import is_object
from monitoring_assets.warehouse import quoted

# A row of weight 0 changes nothing, but a row without a usable weight cannot be counted.
WEIGHT_RULE = (
    f"{{value}} IS NULL OR NOT isfinite({{value}}) OR {{value}} < 0 OR {{value}} > {LARGEST_WEIGHT!r}",
    "not a weight",
)
# A folder is compacted when nothing was added to it for this many seconds.
SETTLED_SECONDS = 60.0


@contextmanager
def staged_log(spec: MonitorSpec, days: Sequence[date]) -> Iterator[Staged]:
    """What the log holds for these days, read before the warehouse is opened; `store` puts it there."""
    with staged(spec, log_contract(spec), spec.log, days) as rows:
        yield rows


def log_contract(spec: MonitorSpec) -> Contract:
    """What the log must deliver."""
    stored = {name: quoted(name) for name in spec.log_columns}
    return Contract("inference_log", spec.log_columns, spec.event_time, stored, weight_rules(spec))


def compact_closed_days(spec: MonitorSpec, days: Sequence[date]) -> dict[date, int]:
    """Replace the prediction logger's many segments of finished days by few files. Returns how many were replaced.

    Call it before a reading, so that the new files are the ones read and noted as read. A day counts as over when it has ended in
    the monitor's time zone and its segments have been left alone for a minute.

    Raises
    ------
    OSError
        When a folder cannot be written to.
    """
    written = str(spec.log.path)
    folder, name = os.path.split(written)
    if is_object(written) or not spec.log.is_watched or name != "*.parquet" or "{day}" not in folder or glob.has_magic(folder):
        return {}
    from monitoring_assets.prediction_logging.compaction import compact_segments, is_interrupted

    today = datetime.now(ZoneInfo(spec.time_zone)).date()
    replaced = {}
    for day in days:
        of_day = Path(spec.resolve(folder, day))
        if day >= today or not of_day.is_dir():
            continue
        if is_interrupted(of_day) or time.time() - of_day.stat().st_mtime > SETTLED_SECONDS:
            replaced[day] = compact_segments(of_day)
    return {day: count for day, count in replaced.items() if count}


def weight_rules(spec: MonitorSpec) -> Rules:
    """What a row's weight must be: a finite number, 0 or above."""
    return {spec.sampling_weight: WEIGHT_RULE} if spec.sampling_weight else {}
