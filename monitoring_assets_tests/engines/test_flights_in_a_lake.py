"""Days of flights in a lake, measured by Spark: every table is the one that DuckDB makes of the same files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from monitoring_assets.chosen_warehouse import warehouse_in
from monitoring_assets.demo.serving import World
from monitoring_assets.drift.daily_scores import score_history
from monitoring_assets.engines.day_delivery import read_labels, read_log
from monitoring_assets.monitor_spec import MonitorSpec, days_between
from monitoring_assets.performance.windows import write_performance
from monitoring_assets.profiling.daily_profiles import profile_days
from monitoring_assets.quality.daily_findings import daily_findings
from monitoring_assets.warehouse import ensure_tables, transaction
from monitoring_assets_tests.engines.lake_monitor import needs_java
from monitoring_assets_tests.example_monitor import contents, reference_baseline

pytestmark = [needs_java, pytest.mark.long]
DECLARED = Path(__file__).parents[2] / "monitoring_assets" / "defs" / "flights" / "defs.yaml"
COMPARED = ("daily_profile", "daily_sample", "profile_grids", "drift_scores", "drift_verdicts", "quality", "performance")
CONFIG = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1", "spark.sql.shuffle.partitions": 2}

# Bins in which rows crowd are divided by a pass each, so a year takes half an hour on a busy machine.
LAST = "2013-03-07"


class Hours:
    """A model that holds late hours for late flights."""

    classes_ = np.array([0, 1])

    def predict_proba(self, features: pd.DataFrame) -> np.ndarray:
        late = (features["hour"].to_numpy(float) + features["distance"].to_numpy(float) / 1e3) / 40
        return np.column_stack([1 - late, late])


def spec_of(home: Path, **sources: Any) -> MonitorSpec:
    content = yaml.safe_load(DECLARED.read_text())["attributes"]
    return MonitorSpec.model_validate(content | sources).at_home(home)


@contextmanager
def opened(home: Path, spec: MonitorSpec) -> Iterator[duckdb.DuckDBPyConnection]:
    with warehouse_in(home).connect() as connection:
        ensure_tables(connection, spec)
        yield connection


def stored(home: Path, spec: MonitorSpec) -> dict[str, list[tuple[Any, ...]]]:
    days = days_between(spec.start_day, spec.end_day or spec.start_day)
    with opened(home, spec) as connection:
        reference_baseline(connection, spec)
    with read_log(spec, days) as log, opened(home, spec) as connection:
        log.store(connection)
        profile_days(connection, spec, days)
        daily_findings(connection, spec, days)
    score_history(lambda: opened(home, spec), spec, days)
    with read_labels(spec, days, lambda: opened(home, spec)) as labels, opened(home, spec) as connection:
        labels.store(connection)
        with transaction(connection):
            write_performance(connection, spec, days)
        counts = "SELECT day, asset, delivered_rows, accepted_rows, quarantined_rows FROM flights.deliveries ORDER BY ALL"
        return contents(connection, spec, *COMPARED) | {"deliveries": connection.execute(counts).fetchall()}


def test_days_of_flights_in_a_lake_have_every_table_of_duckdb(tmp_path: Path) -> None:
    paths = {"log": {"path": "lake/day={day}/0.parquet"}, "labels": {"path": "lake_labels/day={day}/0.parquet"}}
    files = spec_of(tmp_path, **paths, end_day=LAST)
    world, days = World(files), days_between(files.start_day, files.end_day or files.start_day)
    world.write_reference()
    world.serve(days, Hours(), "1")
    world.deliver_labels(days)
    for path in tmp_path.glob("lake*/*/*.parquet"):  # Spark cannot read the nanoseconds of pandas
        pq.write_table(pq.ParquetFile(path).read(), path, coerce_timestamps="us", allow_truncated_timestamps=True)
    tables = {name: {"table": f"parquet.`{tmp_path / folder}`"} for name, folder in (("log", "lake"), ("labels", "lake_labels"))}
    lake = spec_of(tmp_path, engine={"spark": {"master": "local[2]", "config": CONFIG}}, **tables, end_day=LAST)
    found, expected = stored(tmp_path / "of_lake", lake), stored(tmp_path / "of_files", files)
    assert len(expected["deliveries"]) == 2 * len(days)
    for name, rows in expected.items():
        assert found[name] == rows, name
