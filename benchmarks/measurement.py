"""How anything is timed: on a fixed number of cores, in a fresh process, the best of several runs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Cores that everything that is timed may use.
CPUS = 2


def on_cpus() -> None:
    """Keep this process on `CPUS` cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CPUS])


def best_seconds(work: Callable[[], object], runs: int) -> float:
    """The least of several runs, because the machine may be busy with something else."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def peak_mb() -> float:
    """This process's own peak; `resource` would report at least the parent's, which has written the files."""
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


def apart(module: str, *arguments: object) -> list[dict[str, Any]]:
    """The JSON lines that a module prints when run in a fresh process, so that one measurement does not warm or fill another."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
