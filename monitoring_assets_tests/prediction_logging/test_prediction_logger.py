"""Laws of the prediction logger: serving never waits and never fails, and every row is accounted for."""

import asyncio
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring_assets.drift.distances import psi
from monitoring_assets.errors import LoggerMisconfigured
from monitoring_assets.prediction_logging.prediction_logger import PredictionLogger, high_risk, low_confidence
from monitoring_assets.prediction_logging.segments import read_dropped
from monitoring_assets_tests.example_monitor import FIRST, SECOND, contents, example_spec, example_warehouse
from monitoring_assets_tests.ingested_days import ingest_log
from monitoring_assets_tests.measuring.profiles import grid_of, profile

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


# --- nothing is lost -------------------------------------------------------------------------------------------------


def test_what_many_threads_log_is_on_disk_once_and_readable_at_every_moment(tmp_path) -> None:
    done, broken = threading.Event(), []

    def reader() -> None:
        while not done.is_set():
            for path in segments(tmp_path):
                try:
                    pq.ParquetFile(path).read()
                except Exception as error:
                    broken.append((path, error))
            time.sleep(0.002)

    watching = threading.Thread(target=reader)
    watching.start()
    with PredictionLogger(tmp_path, COLUMNS, flush_rows=50, flush_seconds=0.01) as logger:
        writers = [
            threading.Thread(target=lambda t=t: [logger.log({"amount": i}, 0.5, prediction_id=f"{t}-{i}") for i in range(1000)])
            for t in range(4)
        ]
        for thread in writers:
            thread.start()
        for thread in writers:
            thread.join()
    done.set()
    watching.join()
    assert not broken
    assert len(segments(tmp_path)) > 1
    assert ids(tmp_path) == sorted(f"{t}-{i}" for t in range(4) for i in range(1000))
    assert (logger.stats.logged, logger.stats.dropped, logger.stats.waiting) == (4000, 0, 0)


def log_some(logger: PredictionLogger, name: str, count: int) -> None:
    for place in range(count):
        logger.log({"amount": place}, 0.5, prediction_id=f"{name}-{place}")


def serve_in_a_process(root: str, name: str) -> None:
    log_some(PredictionLogger(root, COLUMNS, flush_seconds=FOREVER), name, 100)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_processes_write_to_one_folder_and_none_overwrites_another(tmp_path, method: str) -> None:
    processes = [get_context(method).Process(target=serve_in_a_process, args=(str(tmp_path), f"p{n}")) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert ids(tmp_path) == sorted(f"p{n}-{i}" for n in range(3) for i in range(100))


def test_a_forked_child_writes_its_own_rows_and_not_its_parents(tmp_path) -> None:
    with PredictionLogger(tmp_path, COLUMNS, flush_seconds=FOREVER) as logger:
        log_some(logger, "parent", 100)
        process = get_context("fork").Process(target=log_some, args=(logger, "child", 50))
        process.start()
        process.join(60)
        assert process.exitcode == 0
        assert ids(tmp_path) == sorted(f"child-{i}" for i in range(50))
    assert ids(tmp_path) == sorted([f"child-{i}" for i in range(50)] + [f"parent-{i}" for i in range(100)])


@pytest.mark.slow
def test_forks_amid_flushes_neither_hang_nor_lose_a_row(tmp_path) -> None:
    script = """
        import threading
        logger = PredictionLogger(sys.argv[1], {"amount": "numeric"}, flush_rows=20, flush_seconds=0.001)
        stop = threading.Event()
        def serve():
            n = 0
            while not stop.is_set():
                logger.log({"amount": n}, 0.5, prediction_id=f"parent-{n}"); n += 1
                time.sleep(0.0002)
            print(n)
        thread = threading.Thread(target=serve); thread.start()
        children = []
        for child in range(10):
            pid = os.fork()
            if pid == 0:
                for n in range(20):
                    logger.log({"amount": n}, 0.5, prediction_id=f"{child}-{n}")
                logger.close()
                os._exit(0)
            children.append(pid)
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 10
        stop.set(); thread.join()
    """
    done = run(script, tmp_path)
    assert done.returncode == 0, done.stderr
    expected = [f"parent-{n}" for n in range(int(done.stdout))] + [f"{child}-{n}" for child in range(10) for n in range(20)]
    assert ids(tmp_path) == sorted(expected)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "raise RuntimeError('bug')"])
def test_a_process_that_ends_without_close_has_written_everything(tmp_path, end: str) -> None:
    script = f"""
        logger = PredictionLogger(sys.argv[1], {{"amount": "numeric"}}, flush_seconds=3600)
        [logger.log({{"amount": n}}, 0.5) for n in range(1000)]
        {end}
    """
    done = run(script, tmp_path)
    assert (done.returncode, len(rows(tmp_path))) == ({"pass": 0, "sys.exit(3)": 3}.get(end, 1), 1000)


def test_what_is_flushed_outlives_a_kill(tmp_path) -> None:
    script = """
        logger = PredictionLogger(sys.argv[1], {"amount": "numeric"}, flush_rows=100, flush_seconds=3600)
        for n in range(1000):
            logger.log({"amount": n}, 0.5, prediction_id=str(n))
        while logger.stats.logged == 0 or logger.stats.waiting >= 100:
            time.sleep(0.01)
        print(logger.stats.logged, flush=True)
        os.kill(os.getpid(), 9)
    """
    done = run(script, tmp_path)
    assert done.returncode == -signal.SIGKILL
    assert 1000 - len(rows(tmp_path)) < 100
    assert len(rows(tmp_path)) >= int(done.stdout)


def test_rows_wait_no_longer_than_flush_seconds(tmp_path) -> None:
    with PredictionLogger(tmp_path, COLUMNS, flush_seconds=0.05) as logger:
        logger.log({"amount": 1.0}, 0.5)
        assert wait_until(lambda: len(segments(tmp_path)) == 1)
    assert len(rows(tmp_path)) == 1


def wait_until(condition, seconds: float = 20.0) -> bool:
    ends = time.monotonic() + seconds
    while not condition() and time.monotonic() < ends:
        time.sleep(0.01)
    return condition()


# --- when the disk fails ---------------------------------------------------------------------------------------------


def test_on_a_full_disk_serving_goes_on_and_the_drops_are_reported_once_there_is_room(tmp_path) -> None:
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("a file system of its own can be mounted by root only")
    try:
        full = tmp_path / "full"
        full.write_bytes(b"x" * 256 * 1024)
        with PredictionLogger(tmp_path / "log", COLUMNS, buffer_rows=200, flush_rows=50, flush_seconds=0.05) as logger:
            log_some(logger, "a", 500)
            assert wait_until(lambda: logger.stats.errors > 1)
            reported = logger.stats
            assert (reported.logged, reported.waiting, reported.dropped) == (0, 200, 300)
            assert "No space left" in reported.last_error
            assert not list(tmp_path.glob("log/day=*/*"))
            full.unlink()
            assert wait_until(lambda: dropped(tmp_path / "log") == 300)
        assert ids(tmp_path / "log") == sorted(f"a-{i}" for i in range(200))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_past_a_limit_on_file_size_the_rows_of_the_end_are_counted_as_dropped(tmp_path, caplog) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    logger = PredictionLogger(tmp_path, COLUMNS, flush_seconds=FOREVER)
    log_some(logger, "a", 100)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        logger.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert (logger.stats.logged, logger.stats.dropped, logger.stats.waiting) == (0, 100, 0)
    assert "100 predictions could not be written" in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_that_is_removed_comes_back_and_one_that_is_a_file_is_waited_for(tmp_path) -> None:
    root = tmp_path / "log"
    with PredictionLogger(root, COLUMNS, flush_seconds=FOREVER) as logger:
        log_some(logger, "a", 5)
        assert logger.flush()
        shutil.rmtree(root)
        log_some(logger, "b", 5)
        assert logger.flush()
        shutil.rmtree(root)
        root.write_text("in the way")
        log_some(logger, "c", 5)
        assert not logger.flush()
        root.unlink()
    assert ids(root) == [f"c-{i}" for i in range(5)]
    assert (logger.stats.logged, logger.stats.dropped) == (15, 0)


def test_after_close_a_prediction_is_counted_and_nothing_raises(tmp_path) -> None:
    logger = PredictionLogger(tmp_path, COLUMNS)
    logger.close()
    logger.log({"amount": 1}, 0.5)
    logger.close()
    assert (logger.stats.dropped, logger.stats.last_error) == (1, "the logger is closed")


# --- values ----------------------------------------------------------------------------------------------------------


class Wordless:
    def __str__(self) -> str:
        raise RuntimeError


ODD_NUMBERS = ["abc", Wordless(), object(), 10**400, [1.0], np.datetime64("2026-01-01"), complex(1, 2)]
ODD_CATEGORIES = [7, 7.0, True, None, float("nan"), np.int64(7), b"\xff", "\ud800", Wordless(), pd.NA]
NUMBERS = [1, 1.5, True, np.float32(0.5), np.int64(3), np.bool_(True), Decimal("2.5"), 2**60 + 1, None, pd.NA, float("inf")]


def test_numbers_of_every_type_are_numbers(tmp_path) -> None:
    with PredictionLogger(tmp_path, COLUMNS) as logger:
        for value in NUMBERS:
            logger.log({"amount": value}, 0.5)
    (segment,) = segments(tmp_path)
    assert pq.read_schema(segment).field("amount").type == pa.float64()
    assert [row["amount"] for row in rows(tmp_path)] == [
        1, 1.5, 1, 0.5, 3, 1, 2.5, float(2**60 + 1), None, None, float("inf"),
    ]  # fmt: skip


def test_a_category_is_the_same_text_whatever_its_type(tmp_path) -> None:
    with PredictionLogger(tmp_path, COLUMNS) as logger:
        for value in ODD_CATEGORIES:
            logger.log({"country": value}, 0.5)
    assert [row["country"] for row in rows(tmp_path)] == [
        "7", "7", "true", None, None, "7", "\\xff", "\\ud800", "<Wordless without text>", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "bad", [{"amount": value} for value in ODD_NUMBERS] + [{"at": "noon"}, {"at": float("nan")}, {"at": 1e300}]
)
def test_a_row_that_does_not_fit_is_kept_as_text_beside_its_neighbours(tmp_path, bad: dict) -> None:
    with PredictionLogger(tmp_path, COLUMNS) as logger:
        for place, values in enumerate([{"amount": 1}, bad, {"amount": 2}]):
            logger.log({"amount": values.get("amount")}, 0.5, prediction_id=str(place), at=values.get("at"))
    assert ids(tmp_path) == ["0", "1", "2"]
    (odd,) = [path for path in segments(tmp_path) if path.stem.endswith("-text")]
    assert pq.read_table(odd)["prediction_id"].to_pylist() == ["1"]
    assert set(pq.read_schema(odd).types) == {pa.string()}


def test_only_named_features_are_written_and_a_role_can_be_left_out(tmp_path) -> None:
    with PredictionLogger(tmp_path, COLUMNS, predicted_class=None, error=None, score="risk") as logger:
        logger.log({"amount": 1, "password": "secret", "risk": 7}, 0.25, predicted_class="1")
        features = {"amount": 2.0, "country": "DE"}
        logger.log(features, 0.5)
        features["amount"] = 99.0
    assert [(row["amount"], row["country"], row["risk"]) for row in rows(tmp_path)] == [(1, None, 0.25), (2, "DE", 0.5)]
    assert set(rows(tmp_path)[0]) - {"day"} == {
        "prediction_id", "at", "risk", "model_version", "latency_ms", "sampling_weight", "amount", "country",
    }  # fmt: skip


def test_a_day_is_a_day_of_the_zone(tmp_path) -> None:
    with PredictionLogger(tmp_path, COLUMNS, time_zone="America/New_York") as logger:
        logger.log({}, 0.5, at=datetime(2026, 3, 3, 4, 59, tzinfo=UTC), prediction_id="late on the 2nd")
        logger.log({}, 0.5, at=datetime(2026, 3, 3, 5, 0, tzinfo=UTC), prediction_id="the 3rd")
        logger.log({}, 0.5, at=datetime(2026, 3, 2, 0, 0), prediction_id="local")
        logger.log({}, 0.5, at=pd.Timestamp("2026-03-08 23:59:59.999999"), prediction_id="a day of 23 hours")
    found = {
        row["prediction_id"]: path.parent.name for path in segments(tmp_path) for row in pq.ParquetFile(path).read().to_pylist()
    }
    assert found == {
        "late on the 2nd": "day=2026-03-02", "the 3rd": "day=2026-03-03", "local": "day=2026-03-02",
        "a day of 23 hours": "day=2026-03-08",
    }  # fmt: skip


@pytest.mark.parametrize("call", [lambda log: log(None, 0.5), lambda log: log(7, 0.5), lambda log: log(["amount"], 0.5)])
def test_features_that_are_no_mapping_are_counted_and_not_raised(tmp_path, call) -> None:
    with PredictionLogger(tmp_path, COLUMNS) as logger:
        call(logger.log)
        assert (logger.stats.dropped, logger.stats.errors) == (1, 1)
        assert "TypeError" in logger.stats.last_error
    assert dropped(tmp_path) == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sampling_rate": 0}, "above 0 and at most 1, found 0"),
        ({"flush_rows": 10, "buffer_rows": 5}, "at most buffer_rows 5, found 10"),
        ({"flush_seconds": 0}, "above 0"),
        ({"time_zone": "Mars"}, "'Mars' is unknown"),
        ({"columns": {"amount": "float"}}, "'amount' is numeric or categorical, found 'float'"),
        ({"columns": {"Score": "numeric"}}, "'score' has two roles"),
        ({"columns": {"day": "numeric"}}, "may not be called 'day'"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, settings: dict, says: str) -> None:
    with pytest.raises(LoggerMisconfigured, match=says):
        PredictionLogger(tmp_path, **({"columns": COLUMNS} | settings))


# --- sampling --------------------------------------------------------------------------------------------------------


def test_a_tenth_of_the_log_shows_no_drift_with_its_weights_and_much_without(tmp_path) -> None:
    random, n = np.random.default_rng(7), 40_000
    score = random.beta(2, 5, n)
    amount = 100 * score + random.normal(0, 10, n)
    conditions = [high_risk(0.5), low_confidence(0.05)]
    with PredictionLogger(tmp_path, COLUMNS, sampling_rate=0.1, always_log=conditions) as logger:
        for a, s in zip(amount.tolist(), score.tolist(), strict=True):
            logger.log({"amount": a}, s)
    kept, reported = rows(tmp_path), logger.stats
    assert reported.logged + reported.sampled_out == n
    assert reported.logged == len(kept)
    certain = score >= 0.45
    assert sum(row["sampling_weight"] == 1 for row in kept) == certain.sum()
    # A row is kept with chance 0.1 and then weighs 10, so the sum of weights has a variance of 9 a row: four deviations of it.
    assert abs(sum(row["sampling_weight"] for row in kept) - n) < 4 * np.sqrt(9 * (n - certain.sum()))
    sample, weight = [row["amount"] for row in kept], [row["sampling_weight"] for row in kept]
    edges = np.quantile(amount, np.linspace(0, 1, 11)[1:-1])
    grid = grid_of(amount)

    def deciles(histogram) -> np.ndarray:
        return np.bincount(np.searchsorted(edges, histogram.support, side="right"), weights=histogram.counts[0], minlength=10)

    full = deciles(profile([amount], grid))
    weighted = psi(full, deciles(profile([sample], grid, weights=[weight]))[None])[0]
    unweighted = psi(full, deciles(profile([sample], grid))[None])[0]
    # Nine degrees of freedom of a sample of n / 10 rows: PSI has the mean 9 / (n / 10) and exceeds three times that once in 10^3.
    assert weighted < 3 * 9 / (n / 10)
    assert unweighted > 0.2


def test_an_error_and_a_predicate_are_always_logged_and_a_broken_one_is_reported(tmp_path) -> None:
    def of_a_kind(features, score) -> bool:
        return features["country"] == "JP"

    with PredictionLogger(tmp_path, COLUMNS, sampling_rate=1e-9, always_log=[of_a_kind, high_risk(0.9)]) as logger:
        logger.log({"country": "JP"}, 0.1, prediction_id="predicate")
        logger.log({"country": "DE"}, None, error="boom", prediction_id="error")
        logger.log({"country": "DE"}, 0.5, prediction_id="left out")
        logger.log({"amount": 3}, 0.95, prediction_id="another condition")
    assert ids(tmp_path) == ["another condition", "error", "predicate"]
    assert {row["sampling_weight"] for row in rows(tmp_path)} == {1.0}
    assert (logger.stats.sampled_out, logger.stats.errors, logger.stats.last_error) == (1, 1, "KeyError: 'country'")


# --- observing a function --------------------------------------------------------------------------------------------


def test_observe_logs_what_a_function_returns_how_long_it_took_and_what_it_raised(tmp_path) -> None:
    with PredictionLogger(tmp_path, COLUMNS) as logger:

        class Service:
            @logger.observe
            def predict(self, features, scale: float = 1.0):
                time.sleep(0.02)
                if features["amount"] < 0:
                    raise ValueError("negative amount")
                return features["amount"] * scale

        @logger.observe
        def with_names(features):
            return {"score": 0.9, "predicted_class": "1", "model_version": 3, "prediction_id": "mine"}

        assert Service().predict({"amount": 0.25}, scale=2) == 0.5
        assert with_names(features={"amount": 1})["score"] == 0.9
        with pytest.raises(ValueError, match="negative amount"):
            Service().predict({"amount": -1})
    first, named, failed = rows(tmp_path)
    assert (first["score"], first["error"]) == (0.5, None)
    assert first["latency_ms"] >= 20
    assert (named["prediction_id"], named["predicted_class"], named["model_version"]) == ("mine", "1", "3")
    assert (failed["score"], failed["error"]) == (None, "ValueError: negative amount")
    assert with_names.__name__ == "with_names"


def test_coroutines_are_observed_also_when_cancelled(tmp_path) -> None:
    async def serve() -> None:
        @logger.observe
        async def predict(features):
            await asyncio.sleep(features["amount"])
            return 0.5

        results = await asyncio.gather(*(predict({"amount": 0.001}) for _ in range(50)))
        assert results == [0.5] * 50
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(predict({"amount": FOREVER}), 0.01)
        assert await logger.log_async({"amount": 1}, 0.5, prediction_id="direct") == "direct"

    with PredictionLogger(tmp_path, COLUMNS) as logger:
        asyncio.run(serve())
    found = rows(tmp_path)
    assert len(found) == 52
    assert [row["error"] for row in found if row["error"]] == ["CancelledError: "]


# --- the monitor reads it --------------------------------------------------------------------------------------------

LOGGED = {
    "log": {"path": "log/day={day}/*.parquet"},
    "serving": {"latency_ms": "took_ms", "error": "failure"},
    "sampling_weight": "weight",
}


def test_what_a_monitors_logger_writes_the_monitor_accepts_and_odd_rows_it_quarantines(tmp_path) -> None:
    tmp_path /= "prod [eu]"
    spec = example_spec(tmp_path, **LOGGED)
    with PredictionLogger.for_monitor(spec, tmp_path) as logger:
        for place in range(10):
            features = {"amount": place, "items": 1, "country": "DE"}
            logger.log(features, 0.5, predicted_class=1, model_version=1, at=NOON, latency_ms=place, prediction_id=place)
        logger.log({"amount": "a lot"}, 0.5, at=NOON, prediction_id="odd")
        logger.log({"amount": 1}, None, at=NOON, prediction_id="failed", error="boom")
    with example_warehouse(tmp_path, spec) as connection:
        first, second = ingest_log(connection, spec, [FIRST, SECOND])
        tables = contents(connection, spec, "inference_log")
    assert (first.accepted_rows, first.quarantined_rows, first.reasons) == (11, 1, {"not a number": 1})
    assert second.delivered_rows == 0
    assert [row[1] for row in tables["inference_log"]] == [*map(str, range(10)), "failed"]


def test_a_logger_for_the_yaml_of_a_monitor_reads_the_environment(tmp_path, monkeypatch) -> None:
    content = json.loads(
        example_spec(tmp_path, **LOGGED | {"log": {"path": "LOGS/day={day}/*.parquet"}}).model_dump_json(by_alias=True)
    )
    text = json.dumps({"type": "monitoring_assets.components.ModelMonitor", "attributes": content})
    (tmp_path / "defs.yaml").write_text(text.replace("LOGS", "{{ env.LOGS }}"))
    with pytest.raises(LoggerMisconfigured, match="LOGS, which is not set"):
        PredictionLogger.for_monitor(tmp_path / "defs.yaml")
    monkeypatch.setenv("LOGS", str(tmp_path / "logs"))
    with PredictionLogger.for_monitor(tmp_path / "defs.yaml", sampling_rate=0.5, always_log=[low_confidence()]) as logger:
        logger.log({"amount": 1}, 0.5, at=NOON)
    assert [path.parent for path in segments(tmp_path / "logs")] == [tmp_path / "logs" / "day=2026-03-02"]


@pytest.mark.parametrize(
    "path", ["log/{day}.parquet", "log/*.parquet", "s3://bucket/log/day={day}/*.parquet", "{day}/day={day}/*.parquet"]
)
def test_a_monitor_that_reads_no_folder_per_day_is_refused(tmp_path, path: str) -> None:
    with pytest.raises(LoggerMisconfigured, match=r"Write it as FOLDER/day=\{day\}/\*\.parquet"):
        PredictionLogger.for_monitor(example_spec(tmp_path, log={"path": path}), tmp_path)


def test_a_sample_that_the_monitor_would_not_weigh_is_refused(tmp_path) -> None:
    with pytest.raises(LoggerMisconfigured, match="Add `sampling_weight: sampling_weight` to the monitor"):
        PredictionLogger.for_monitor(example_spec(tmp_path, **LOGGED | {"sampling_weight": None}), tmp_path, sampling_rate=0.1)


def test_importing_the_logger_loads_neither_arrow_nor_dagster() -> None:
    done = run("print({'pyarrow', 'dagster', 'duckdb', 'pandas', 'pydantic', 'numpy'} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stderr


def test_no_thread_is_left_behind(tmp_path) -> None:
    before = set(threading.enumerate())
    with PredictionLogger(tmp_path, COLUMNS) as logger:
        logger.log({}, 0.5)
        assert set(threading.enumerate()) != before
    assert set(threading.enumerate()) == before
    assert os.listdir(tmp_path)
