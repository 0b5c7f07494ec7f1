"""Laws of `monitoring-assets compact`: the file shrinks, holds the same, and is whole whenever the process is killed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from monitoring_assets.chosen_warehouse import FILE_PER_MONITOR, SETTING, warehouse_in
from monitoring_assets.cli import app
from monitoring_assets.errors import WarehouseLocked
from monitoring_assets.retention.compaction import compact
from monitoring_assets.warehouse import Warehouse
from monitoring_assets_tests.example_monitor import example_spec, example_warehouse

pytestmark = [pytest.mark.long, pytest.mark.file_only]

BLOCK = 262_144


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """A file most of whose rows were deleted."""
    with example_warehouse(tmp_path, example_spec(tmp_path)) as connection:
        connection.execute("CREATE TABLE example.noise AS SELECT i, random() AS x FROM range(1_000_000) r(i)")
        connection.execute("CREATE VIEW example.view_of_mine AS SELECT count(*) AS n FROM example.noise")
        connection.execute("CREATE INDEX mine ON example.noise (i)")
    with Warehouse(tmp_path / "warehouse.duckdb").connect() as connection:
        connection.execute("DELETE FROM example.noise WHERE i < 900_000")
    return Warehouse(tmp_path / "warehouse.duckdb", patience_seconds=0.3)


def all_of(warehouse: Warehouse) -> dict[str, list[tuple[object, ...]]]:
    with warehouse.connect() as connection:
        return {
            "columns": connection.execute(
                "SELECT schema_name, table_name, column_name, data_type, comment FROM duckdb_columns() WHERE NOT internal "
                "ORDER BY ALL"
            ).fetchall(),
            "rows": connection.execute("SELECT count(*), sum(i), sum(hash(x)) FROM example.noise").fetchall(),
            "view": connection.execute("FROM example.view_of_mine").fetchall(),
            "indexes": connection.execute("SELECT index_name FROM duckdb_indexes()").fetchall(),
        }


def test_the_file_shrinks_and_holds_the_same(warehouse: Warehouse) -> None:
    before, size = all_of(warehouse), warehouse.path.stat().st_size
    assert any("day of the prediction" in str(column) for column in before["columns"])
    with warehouse.connect() as connection:
        connection.execute("VACUUM")
        connection.execute("CHECKPOINT")
    assert warehouse.path.stat().st_size == size  # what makes a copy necessary
    done = compact(warehouse)
    assert (done.before, done.after) == (size, warehouse.path.stat().st_size)
    assert done.after < 0.3 * size
    assert all_of(warehouse) == before
    assert abs(compact(warehouse).after - done.after) <= 2 * BLOCK
    assert [file.name for file in warehouse.path.parent.iterdir()] == ["warehouse.duckdb"]


def test_a_warehouse_that_is_open_anywhere_is_not_replaced(warehouse: Warehouse) -> None:
    inode = warehouse.path.stat().st_ino
    with warehouse.connect(), pytest.raises(WarehouseLocked):
        compact(warehouse)
    holder = subprocess.Popen(
        [sys.executable, "-c", "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()",
         str(warehouse.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(WarehouseLocked):
            compact(warehouse)
    finally:
        holder.communicate(timeout=30)
    assert warehouse.path.stat().st_ino == inode
    compact(warehouse)
    assert warehouse.path.stat().st_ino != inode


@pytest.mark.parametrize("moment", ["_discard", "_counts", "os.replace"])
def test_killed_at_any_moment_the_warehouse_is_whole_and_the_next_compaction_cleans_up(warehouse: Warehouse, moment: str) -> None:
    before = all_of(warehouse)
    stop = (
        "import os, sys, time\nfrom pathlib import Path\nfrom monitoring_assets.retention import compaction\n"
        "from monitoring_assets.warehouse import Warehouse\n"
        "def wait(*_):\n    print('there', flush=True); time.sleep(300)\n"
        f"setattr(*((compaction.os, 'replace', wait) if '{moment}' == 'os.replace' else (compaction, '{moment}', wait)))\n"
        "compaction.compact(Warehouse(Path(sys.argv[1])))"
    )
    process = subprocess.Popen([sys.executable, "-c", stop, str(warehouse.path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "there\n"
    with pytest.raises(WarehouseLocked), warehouse.connect():
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert all_of(warehouse) == before
    assert compact(warehouse).after < 4 * BLOCK * 10
    assert all_of(warehouse) == before
    assert [file.name for file in warehouse.path.parent.iterdir()] == ["warehouse.duckdb"]


def test_killed_at_an_unknown_moment_the_warehouse_is_whole(warehouse: Warehouse) -> None:
    before = all_of(warehouse)
    run = (
        "import sys\nfrom pathlib import Path\nfrom monitoring_assets.retention.compaction import compact\n"
        "from monitoring_assets.warehouse import Warehouse\nprint('begins', flush=True)\n"
        "while True: compact(Warehouse(Path(sys.argv[1])))"
    )
    for milliseconds in (5, 40, 90, 160):
        process = subprocess.Popen([sys.executable, "-c", run, str(warehouse.path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "begins\n"
        time.sleep(milliseconds / 1000)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        assert all_of(warehouse) == before


def test_a_writer_that_waited_writes_into_the_new_file(warehouse: Warehouse) -> None:
    """While one process compacts again and again, others add rows; none is lost."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom monitoring_assets.retention.compaction import compact\n"
        "from monitoring_assets.warehouse import Warehouse\nwarehouse = Warehouse(Path(sys.argv[1]))\n"
        "for i in range(15):\n"
        "    if sys.argv[2] == 'compact':\n        compact(warehouse)\n"
        "    else:\n"
        "        with warehouse.connect() as c: c.execute('INSERT INTO example.noise VALUES (?, 0)', [-i])\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(warehouse.path), what]) for what in ("compact", "write", "write")
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    with warehouse.connect() as connection:
        assert connection.execute("SELECT count(*) FROM example.noise WHERE i <= 0").fetchall() == [(30,)]


def test_a_copy_that_cannot_be_written_leaves_the_file_and_says_so(warehouse: Warehouse) -> None:
    before = all_of(warehouse)
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom monitoring_assets.retention.compaction import compact\n"
        "from monitoring_assets.warehouse import Warehouse\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\ncompact(Warehouse(Path(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(warehouse.path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "CompactionFailed: " in done.stderr
    assert "could not be compacted and is as it was" in done.stderr
    assert [file.name for file in warehouse.path.parent.iterdir()] == ["warehouse.duckdb"]
    assert all_of(warehouse) == before


def test_rows_in_a_write_ahead_log_are_copied_and_the_log_does_not_outlive_the_file(warehouse: Warehouse) -> None:
    code = (
        "import duckdb, os, sys\nc = duckdb.connect(sys.argv[1])\nc.execute(\"SET checkpoint_threshold = '1TB'\")\n"
        "c.execute('INSERT INTO example.noise VALUES (-1, 0)')\nos._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(warehouse.path)], check=True, timeout=60)
    assert warehouse.path.with_name("warehouse.duckdb.wal").stat().st_size > 0
    compact(warehouse)
    assert [file.name for file in warehouse.path.parent.iterdir()] == ["warehouse.duckdb"]
    with warehouse.connect() as connection:
        assert connection.execute("SELECT count(*) FROM example.noise WHERE i = -1").fetchall() == [(1,)]


def test_the_command_tells_both_sizes_and_what_is_missing(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITORING_ASSETS_HOME", str(warehouse.path.parent))
    done = CliRunner().invoke(app, ["compact"])
    assert done.exit_code == 0
    assert f"{warehouse.path}: " in done.stdout
    assert "MB before, " in done.stdout
    monkeypatch.setenv("MONITORING_ASSETS_HOME", str(warehouse.path.parent / "elsewhere"))
    missing = CliRunner().invoke(app, ["compact"])
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "CompactionFailed: there is no warehouse at" in missing.stderr
    assert not (warehouse.path.parent / "elsewhere").exists()


def test_the_command_compacts_the_file_of_every_monitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITORING_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv(SETTING, FILE_PER_MONITOR)
    for monitor in ("fraud", "churn"):
        with warehouse_in(tmp_path, monitor=monitor).connect() as connection:
            connection.execute("CREATE TABLE noise AS SELECT random() AS x")
    done = CliRunner().invoke(app, ["compact"])
    assert [Path(line.partition(":")[0]).parent.name for line in done.output.splitlines()] == ["churn", "fraud"]
    monkeypatch.setenv("MONITORING_ASSETS_HOME", str(tmp_path / "elsewhere"))
    assert "CompactionFailed: there is no warehouse in" in CliRunner().invoke(app, ["compact"]).stderr


def test_freed_space_is_used_again_without_compaction(warehouse: Warehouse) -> None:
    """So a monitor with `retain_days` stops growing by itself; a compaction only gives back what once was more."""
    size = warehouse.path.stat().st_size
    with warehouse.connect() as connection:
        connection.execute("INSERT INTO example.noise SELECT i, random() FROM range(400_000) r(i)")
    assert warehouse.path.stat().st_size <= size + 2 * BLOCK
    with duckdb.connect(str(warehouse.path)) as connection:
        assert connection.execute("SELECT count(*) FROM example.noise").fetchall() == [(500_000,)]
