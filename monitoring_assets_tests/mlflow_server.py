"""An MLflow server of the tests' own on a free port of loopback, which keeps and serves everything from one folder."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

# Address -> where the server keeps the files.
_ARTIFACTS: dict[str, Path] = {}


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The address of a fresh server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, artifacts = f"http://127.0.0.1:{port}", folder / "artifacts"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(artifacts)]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(f"{address}/health", lambda: (folder / "log").read_text(errors="replace")[-2000:])
        _ARTIFACTS[address] = artifacts
        yield address
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def artifacts_of(address: str) -> Path:
    """The folder in which a server of this process keeps what it serves as `mlflow-artifacts:/`."""
    return _ARTIFACTS[address]


def wait_for(url: str, said: Callable[[], str], seconds: float = 120) -> None:
    for _ in range(round(4 * seconds)):
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.25)
    raise AssertionError(f"{url} does not answer; the log ends:\n{said()}")
