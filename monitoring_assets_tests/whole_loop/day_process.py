"""Real processes that materialise assets of one monitor on one warehouse, and may be killed at any moment.

They are forked from a server that has imported everything, so a process costs milliseconds, not seconds. Which days, and what
must hold afterwards, is the caller's.
"""

import faulthandler
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import dagster as dg

from monitoring_assets.warehouse import LOCK_PATIENCE_SECONDS
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded

# An asset without partitions by its name, or a job over days: its name, the first day, the last.
Step = tuple[str] | tuple[str, date, date]

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([__name__, "great_expectations.expectations", "scipy.stats", "sklearn.metrics", "upath"])

# A process that takes longer tells in its log where each of its threads stands.
HANG_SECONDS = 60

OVERRIDES = {
    "start_day": "2026-03-08",
    "reference": {"path": "reference.parquet"},
    "segments": ["country"],
    "serving": {"latency_ms": "took"},
}
_numbers = count()


class Results:
    """Where processes that are started from now on keep their results: in the home's file, or in the database of that address."""

    address_of: Callable[[Path], str] | None = None


class DayProcess:
    """One process with its log. When the object exists, Dagster is up in it and the work begins."""

    def __init__(self, home: Path, steps: Sequence[Step]) -> None:
        self.log = home / f"process_{next(_numbers)}.log"
        self._told, tell = SERVER.Pipe(duplex=False)
        address = Results.address_of(home) if Results.address_of else ""
        self.process = SERVER.Process(target=_work, args=(home, list(steps), self.log, tell, address), daemon=True)
        self.process.start()
        tell.close()
        self._told.recv()
        self.started = time.perf_counter()

    def is_alive(self, seconds: float = 0.0) -> bool:
        """Whether it still runs when that time has passed; tells at once when it ends."""
        self.process.join(seconds)
        return self.process.is_alive()

    def kill(self) -> bool:
        """`kill -9`. Returns whether that is what ended it."""
        self.process.kill()
        self.process.join()
        return self.process.exitcode == -9

    @property
    def last_started(self) -> str:
        """The step of the run that it began last."""
        last = "nothing"
        with suppress(EOFError):
            while self._told.poll():
                last = self._told.recv()
        return last

    def succeed(self, seconds: float = 300) -> float:
        """Wait for its end, which must be a success; else what it logged. Returns how long it took in seconds."""
        alive = self.is_alive(seconds)
        self.process.kill()
        reported = self.log.read_text(errors="replace")[-5000:] if self.log.exists() else ""
        assert not alive, f"not done within {seconds:.0f} s:\n{reported}"
        assert self.process.exitcode == 0, f"the process ended with {self.process.exitcode}:\n{reported}"
        return time.perf_counter() - self.started


def example_monitor(home: Path, instance: dg.DagsterInstance) -> DagsterMonitor:
    return DagsterMonitor(home, instance, patience_seconds=LOCK_PATIENCE_SECONDS, **OVERRIDES)


def _work(home: Path, steps: Sequence[Step], log: Path, tell: Connection, address: str) -> None:
    os.environ["MONITORING_ASSETS_WAREHOUSE"] = address
    reported = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(reported, 1)
    os.dup2(reported, 2)
    faulthandler.dump_traceback_later(HANG_SECONDS, repeat=True)
    warnings.simplefilter("ignore")
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = example_monitor(home, instance)
        _tell_steps(instance, tell)
        for name, *days in steps:
            succeeded(monitor.run_days(name, *days) if days else monitor.materialise(name))


def _tell_steps(instance: dg.DagsterInstance, tell: Connection) -> None:
    """From now on say so when a step begins; and say now that everything is ready."""
    handle = instance.handle_new_event

    def reported(event: dg.EventLogEntry, **options: Any) -> None:
        if event.dagster_event_type == dg.DagsterEventType.STEP_START:
            tell.send(str(event.step_key).replace("example_", "").strip("_"))
        handle(event, **options)

    instance.handle_new_event = reported  # type: ignore[method-assign]
    tell.send("ready")
