"""Laws of compacting a day's segments: the same rows whatever happens, and no news to the monitor that has read them."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow.dataset as ds
import pytest

from monitoring_assets.ingestion.prediction_log import compact_closed_days
from monitoring_assets.prediction_logging import PredictionLogger, compaction
from monitoring_assets.prediction_logging.compaction import FEWEST_SEGMENTS, compact_segments
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import FIRST, example_spec, write_reference

SEGMENTS, ROWS = 40, 5
LOG = {"path": "log/day={day}/*.parquet"}
COLUMNS = {"amount": "numeric", "items": "numeric", "country": "categorical"}


def write_segments(root: Path, segments: int = SEGMENTS, start: int = 0) -> Path:
    """As many segments of the day, each of a few rows, two of them with text where a number belongs; an hour old."""
    names = {"id": "id", "event_time": "at", "predicted_class": "predicted", "model_version": "model"}
    noon = datetime(FIRST.year, FIRST.month, FIRST.day, 17, tzinfo=UTC)
    with PredictionLogger(root, COLUMNS, flush_seconds=3600, time_zone="America/New_York", **names) as logger:
        for segment in range(start, start + segments):
            for row in range(ROWS):
                amount = "much" if segment % 20 == 7 and row == 0 else segment
                logger.log(
                    {"amount": amount, "items": row, "country": "DE"}, score=0.5, prediction_id=f"{segment}-{row}", at=noon
                )
            logger.flush()
    folder = root / f"day={FIRST}"
    past = time.time() - 3600
    for file in folder.iterdir():
        os.utime(file, (past, past))
    os.utime(folder, (past, past))
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ids(folder: Path) -> list[str]:
    """What any reader of the folder finds, in order: the ids of all rows, however often they are there."""
    return sorted(row for file in folder.glob("*.parquet") for row in ds.dataset(file).to_table(columns=["id"])["id"].to_pylist())


def test_a_days_segments_become_one_file_per_layout_with_the_same_rows(tmp_path: Path) -> None:
    folder = write_segments(tmp_path)
    (folder / "theirs.parquet").write_bytes((folder / files(folder)[0]).read_bytes())
    before = ids(folder)
    assert compact_segments(folder) == SEGMENTS + 2
    assert ids(folder) == before
    assert len(files(folder)) == 3  # typed rows, rows as text, and the file that is none of the logger's
    assert compact_segments(folder) == 0


def test_few_segments_and_damaged_ones_stay(tmp_path: Path) -> None:
    folder = write_segments(tmp_path / "few", FEWEST_SEGMENTS - 2)
    before = files(folder)
    assert compact_segments(folder) == 0
    assert files(folder) == before
    folder = write_segments(tmp_path / "damaged")
    damaged = files(folder)[3]
    (folder / damaged).write_bytes(b"PAR1 half a file")
    compact_segments(folder)
    assert damaged in files(folder)
    assert len(files(folder)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("how", [KeyboardInterrupt, OSError])
def test_killed_at_any_step_no_row_is_lost_and_the_next_run_leaves_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: type[BaseException]
) -> None:
    """Every call that changes the disk fails once: with an error, or as if killed, when nothing that tidies up runs either."""
    real = {"rename": os.rename, "unlink": os.unlink}
    step, fatal = 0, 10**9

    def counting(name):
        def call(*arguments, **named):
            nonlocal step
            step += 1
            if step == fatal or (step > fatal and how is KeyboardInterrupt):
                raise how(f"step {step}")
            return real[name](*arguments, **named)

        return call

    for name in real:
        monkeypatch.setattr(os, name, counting(name))
    given = write_segments(tmp_path, 18)
    expected = ids(given)
    folder = shutil.copytree(given, tmp_path / "all")
    step = 0
    compact_segments(folder)
    steps = step
    assert steps > 20
    for at in range(1, steps + 1):
        folder = shutil.copytree(given, tmp_path / str(at))
        step, fatal = 0, at
        with pytest.raises(how):
            compact_segments(folder)
        assert set(ids(folder)) == set(expected)
        fatal = 10**9
        compact_segments(folder)
        assert ids(folder) == expected
        assert not [name for name in files(folder) if name.startswith((".", "_"))]


def test_two_processes_that_compact_the_same_folder_take_turns(tmp_path: Path) -> None:
    folder = write_segments(tmp_path)
    before = ids(folder)
    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(compact_segments, [folder, folder])) == [0, SEGMENTS + 2]
    assert ids(folder) == before


def test_a_day_that_is_not_over_or_was_just_written_to_is_left_alone(tmp_path: Path) -> None:
    folder = write_segments(tmp_path / "log")
    (folder / "late.parquet").touch()
    spec = example_spec(tmp_path, log=LOG)
    assert compact_closed_days(spec, [FIRST]) == {}
    (folder / "late.parquet").unlink()
    os.utime(folder, (time.time() - 3600,) * 2)
    today = datetime.now().astimezone().date() + timedelta(days=1)
    assert compact_closed_days(spec, [FIRST, today]) == {FIRST: SEGMENTS + 2}
    assert compact_closed_days(example_spec(tmp_path, log={"path": "log/**/*.parquet"}), [FIRST]) == {}


@pytest.mark.slow
def test_a_run_compacts_the_day_it_reads_and_the_arrival_sensor_sees_no_change(tmp_path: Path) -> None:
    write_reference(tmp_path, rows=50)
    folder = write_segments(tmp_path / "log")
    settings = {"log": LOG, "reference": {"path": "reference.parquet"}, "drift": {"windows_days": [1]}}
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, labels=None, label=None, retrain={"enabled": False}, **settings)
        succeeded(monitor.materialise("reference_baseline"))
        (request,) = monitor.tick("new_log_data").run_requests
        succeeded(monitor.run_days("daily", FIRST, FIRST, **request.tags))
        assert monitor.metadata("inference_log", FIRST)["compacted_segments"].value == SEGMENTS + 2
        assert len(files(folder)) == 2
        assert monitor.rows("SELECT accepted_rows, quarantined_rows FROM example.deliveries") == [(SEGMENTS * ROWS - 2, 2)]
        assert monitor.tick("new_log_data").run_requests == []
        write_segments(tmp_path / "log", 3, start=SEGMENTS)  # late ones
        (request,) = monitor.tick("new_log_data").run_requests
        succeeded(monitor.run_days("daily", FIRST, FIRST, **request.tags))
        assert monitor.rows("SELECT accepted_rows + quarantined_rows FROM example.deliveries") == [((SEGMENTS + 3) * ROWS,)]
    assert compaction.JOURNAL not in files(folder)
