"""What the same rows give from Parquet files, with which other sources are compared."""

import pytest

from monitoring_assets_tests.example_monitor import write_day
from monitoring_assets_tests.ingested_days import DAYS, ingest_example


@pytest.fixture(scope="module")
def from_parquet(tmp_path_factory: pytest.TempPathFactory, store: str) -> list[tuple[object, ...]]:
    """What three days of the example log are in the warehouse."""
    home = tmp_path_factory.mktemp("parquet")
    for day in DAYS:
        write_day(home, day)
    return ingest_example(home)[1]["inference_log"]
