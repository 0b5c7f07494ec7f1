"""A process that delivers and profiles days of a lake and prints what it stored, or the error: one Spark session lives as long as
its process.

Run as: python -m monitoring_assets_tests.engines.lake_process HOME ENGINE, the engine's settings as JSON.
"""

import json
import sys
from pathlib import Path

from monitoring_assets.engines.day_delivery import read_log
from monitoring_assets.errors import MonitoringError
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.profiling.daily_profiles import profile_days
from monitoring_assets_tests.engines.lake_monitor import DAYS, SERVING, lake_spec
from monitoring_assets_tests.example_monitor import contents, example_warehouse, reference_baseline

STORED = ("daily_profile", "daily_sample", "profile_grids")


def stored(home: Path, spec: MonitorSpec) -> str:
    """What the days leave in the warehouse of a home, as text."""
    with example_warehouse(home, spec) as connection:
        reference_baseline(connection, spec)
        with read_log(spec, DAYS) as found:
            found.store(connection)
        profile_days(connection, spec, DAYS)
        counts = "SELECT day, delivered_rows, accepted_rows, quarantined_rows FROM example.deliveries ORDER BY day"
        return repr((connection.execute(counts).fetchall(), contents(connection, spec, *STORED)))


def given(home: Path) -> dict[str, object]:
    """What both monitors have besides their log."""
    return {"serving": SERVING, "segments": ["country"], "reference": {"path": str(home / "reference.parquet")}}


if __name__ == "__main__":
    data = Path(sys.argv[1])
    try:
        print(stored(data / "lake_home", lake_spec(data, json.loads(sys.argv[2]), **given(data))))
    except MonitoringError as error:
        print(f"{type(error).__name__}: {error}")
