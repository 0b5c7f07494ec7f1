"""A PostgreSQL server of the tests' own: Debian's, on a free port of loopback, in a temporary folder, stopped at the end."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


def missing() -> str | None:
    """Why no server can be started here."""
    try:
        import adbc_driver_postgresql  # noqa: F401
    except ImportError:
        return "the extra `postgres` is not installed"
    return None if _programs() is not None else "PostgreSQL is not installed (Debian: apt-get install postgresql)"


@dataclass(frozen=True)
class Server:
    """A server that runs, and may be stopped and started again as often as wanted."""

    address: str
    control: Callable[..., None]

    def kill(self) -> None:
        """Stop it at once, as a crash would."""
        self.control("-m", "immediate", "stop")

    def start(self) -> None:
        self.control("-l", os.devnull, "start")


@contextmanager
def running(*settings: str) -> Iterator[str]:
    """The address of a fresh server, with settings such as `work_mem=64MB`."""
    with server(*settings) as started:
        yield started.address


@contextmanager
def server(*settings: str) -> Iterator[Server]:
    """A fresh server."""
    with tempfile.TemporaryDirectory(prefix="postgres") as folder, _started(Path(folder), settings) as started:
        yield started


@contextmanager
def _started(folder: Path, settings: Sequence[str]) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # PostgreSQL refuses to run as root.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres")
    data, programs = folder / "data", _programs() or Path()
    (folder / "password").write_text("sesame7")
    given = ("listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off", *settings)
    options = " ".join((f"-p {port}", *(f"-c {setting}" for setting in given)))

    def run(program: str, *arguments: object) -> None:
        command = [*user, str(programs / program), "-D", str(data), *map(str, arguments)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60, cwd="/")

    def control(*arguments: str) -> None:
        run("pg_ctl", "-w", "-o", options, *arguments)

    run("initdb", "-U", "monitor", "-N", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}")
    control("-l", str(folder / "log"), "start")
    try:
        yield Server(f"postgresql://monitor:sesame7@127.0.0.1:{port}/postgres", control)
    finally:
        control("-m", "immediate", "stop")


def _programs() -> Path | None:
    """The folder of the server's programs; Debian keeps them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(p) for p in [shutil.which("initdb")] if p]
    return found[-1].parent if found else None
