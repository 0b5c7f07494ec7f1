"""The processes of deploy/compose.yaml on loopback: the commands and the environment that it names, each in a folder of its own.

Containers are left out, and with them their network: names of services become this machine, their ports free ones. PostgreSQL is
the tests' own server.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import yaml

from monitoring_assets_tests.whole_loop.dagster_dev import PACKAGE_ROOT, Webserver, free_port, wait_until

DEPLOY = PACKAGE_ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
# Where the image has DAGSTER_HOME and the working directory: Dockerfile.
CONFIGURATION = ("dagster.yaml", "workspace.yaml")


class Deployment:
    """`environment` is what deploy/.env would say; `of_code` is for the code location alone, as what its image holds is."""

    def __init__(self, folder: Path, postgres: str, environment: Mapping[str, str], of_code: Mapping[str, str]) -> None:
        self.folder, self.given, self.of_code = folder, dict(environment), dict(of_code)
        self.postgres = postgres
        self.ports = {port: free_port() for port in ("3000", "4000", "5000")}
        self.webserver = Webserver(f"http://127.0.0.1:{self.ports['3000']}")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        for name in ("mlflow", "code"):
            self._start(name)
        for name in ("mlflow", "code"):
            self._wait_until_healthy(name)
        for name in ("webserver", "daemon"):
            self._start(name)
        wait_until(self._is_loaded, 180, self.said)

    def stop(self) -> None:
        for process in reversed(self._processes.values()):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def folder_of(self, service: str) -> Path:
        return self.folder / service

    def environment_of(self, service: str) -> dict[str, str]:
        declared = {name: self._here(value) for name, value in COMPOSE["services"][service].get("environment", {}).items()}
        home = self.folder_of(service)
        image = {"DAGSTER_HOME": str(home), "MONITORING_ASSETS_HOME": str(home / "data"), "MLFLOW_DISABLE_TELEMETRY": "true"}
        return image | declared | (self.of_code if service == "code" else {})

    def said(self, lines: int = 25) -> str:
        """The end of each process's log."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {log.stem}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) for log in logs)

    def _start(self, service: str) -> None:
        home = self.folder_of(service)
        home.mkdir()
        for name in CONFIGURATION:
            shutil.copy(DEPLOY / name, home)
        path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONWARNINGS": "ignore"}
        of_tests = ("DAGSTER", "MLFLOW", "MONITORING", "PYTHON")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(of_tests)}
        with (self.folder / f"{service}.log").open("wb") as log:
            self._processes[service] = subprocess.Popen(
                shlex.split(self._here(COMPOSE["services"][service]["command"])),
                cwd=home,
                env=clean | path | self.environment_of(service),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_until_healthy(self, service: str) -> None:
        """What the compose file asks of it before others begin."""
        check = [self._here(word) for word in COMPOSE["services"][service]["healthcheck"]["test"][1:]]
        if check[0] == "python":
            check[0] = sys.executable
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

        def is_healthy() -> bool:
            assert self._processes[service].poll() is None, self.said()
            return subprocess.run(check, check=False, env=environment, capture_output=True, timeout=60).returncode == 0

        wait_until(is_healthy, 180, self.said, every=2)

    def _is_loaded(self) -> bool:
        assert all(process.poll() is None for process in self._processes.values()), self.said()
        return self.webserver.is_loaded(self.said)

    def _here(self, text: str) -> str:
        """A text of the compose file as it is on this machine."""
        text = re.sub(r"\$\{(\w+)(?::([-?])([^}]*))?\}", lambda found: self.given.get(found[1]) or found[3] or "", str(text))
        text = text.replace("@postgres:5432", f"@{self.postgres}").replace("0.0.0.0", "127.0.0.1")
        text = text.replace("/srv/mlflow", str(self.folder / "models"))
        text = re.sub(rf"\b({'|'.join(self.ports)})\b", lambda found: str(self.ports[found[1]]), text)
        return re.sub(r"^code$|\bmlflow(?=:\d)", "127.0.0.1", text)
