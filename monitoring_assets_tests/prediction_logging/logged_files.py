"""What a logger has written, read back."""

import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from monitoring_assets.prediction_logging.segments import read_dropped

COLUMNS = {"amount": "numeric", "country": "categorical"}
FOREVER = 3600.0
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def segments(root: Path) -> list[Path]:
    return sorted(root.glob("day=*/*.parquet"))


def rows(root: Path) -> list[dict]:
    return [row for path in segments(root) for row in pq.ParquetFile(path).read().to_pylist()]


def ids(root: Path) -> list[str]:
    return sorted(row["prediction_id"] for row in rows(root))


def dropped(root: Path) -> int:
    return sum(read_dropped([str(root / "day=*")], [datetime.now(UTC).date()]).values())


def run(script: str, *arguments: object, **kwargs) -> subprocess.CompletedProcess:
    """A serving process of its own."""
    code = "import sys, os, time\nfrom monitoring_assets.prediction_logging.prediction_logger import PredictionLogger\n"
    command = [sys.executable, "-c", code + textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, check=False, timeout=60, capture_output=True, text=True, **kwargs)
