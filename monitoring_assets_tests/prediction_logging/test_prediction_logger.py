"""Laws of the prediction logger: serving never waits and never fails, and every row is accounted for."""

import resource
import shutil
import signal
import subprocess
import threading
import time
from multiprocessing import get_context

import pyarrow.parquet as pq
import pytest

from monitoring_assets.prediction_logging.prediction_logger import PredictionLogger
from monitoring_assets_tests.prediction_logging.logged_files import COLUMNS, FOREVER, dropped, ids, rows, run, segments

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

        def log_amid_flushes(name: int) -> None:
            for i in range(1000):
                if i == 500:  # the rest is logged once something is on disk
                    wait_until(lambda: segments(tmp_path))
                logger.log({"amount": i}, 0.5, prediction_id=f"{name}-{i}")

        writers = [threading.Thread(target=log_amid_flushes, args=[name]) for name in range(4)]
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
