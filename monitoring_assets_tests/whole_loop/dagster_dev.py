"""The real `dagster dev` as a child of a test: webserver, daemon and code server on loopback, started, asked, ended."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.request import Request, urlopen

T = TypeVar("T")

# A test runner in the background hands ignored signals down, and then no request to end would reach `dagster dev`.
LAUNCHER = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); signal.signal(signal.SIGTERM, signal.SIG_DFL); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
PACKAGE_ROOT = Path(__file__).parents[2]
LOADED = "{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError { __typename } } } } }"


class Webserver:
    """Dagster's webserver at an address, asked in GraphQL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of a GraphQL answer."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(f"{self.url}/graphql", data=body, headers={"Content-Type": "application/json"})
        with urlopen(request, timeout=30) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return dict(answer["data"])

    def is_loaded(self, said: Callable[[], str]) -> bool:
        """Whether it answers and has loaded every code location; fails where one cannot be loaded."""
        try:
            entries = self.ask(LOADED)["workspaceOrError"]["locationEntries"]
        except (URLError, OSError):
            return False
        errors = [entry["name"] for entry in entries if (entry["locationOrLoadError"] or {}).get("__typename") == "PythonError"]
        assert not errors, f"{errors} cannot be loaded; the log ends:\n{said()}"
        return bool(entries) and all(entry["loadStatus"] == "LOADED" for entry in entries)


class DagsterDev(Webserver):
    """One code location, given as a module in a folder, on a free port. Everything it prints is in `log`."""

    def __init__(self, folder: Path, module: str, environment: Mapping[str, str], log: Path) -> None:
        self.folder, self.module, self.environment, self.log = folder, module, dict(environment), log
        self.port = free_port()
        super().__init__(f"http://127.0.0.1:{self.port}")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 120) -> None:
        """Return when the code location is loaded."""
        command = [sys.executable, "-m", "dagster", "dev", "-m", self.module, "-h", "127.0.0.1", "-p", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, *command],
                cwd=self.folder,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(self._is_loaded, seconds, lambda: f"{self.module} is not served; the log ends:\n{self.tail()}")

    def stop(self, seconds: float = 30) -> None:
        """As Ctrl-C in a terminal does it; what is still there after a while is killed."""
        if self._process is None:
            return
        self._signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else "(nothing)"

    def _is_loaded(self) -> bool:
        assert self.is_running(), f"dagster dev ended on its own; the log ends:\n{self.tail()}"
        return self.is_loaded(self.tail)

    def _signal(self, number: int) -> None:
        # The group: a terminal's Ctrl-C reaches the children too.
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def wait_until(found: Callable[[], T], seconds: float, reported: Callable[[], str], every: float = 0.5) -> T:
    """The first true answer of `found`; fails with what `reported` says when there is none in time.

    Time is counted in looks, so a machine that stood still for a while does not fail what had no chance to happen.
    """
    for _ in range(round(seconds / every)):
        answer = found()
        if answer:
            return answer
        time.sleep(every)
    raise AssertionError(f"not within {seconds:.0f} s: {reported()}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
