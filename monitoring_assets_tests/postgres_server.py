"""A PostgreSQL server of the tests' own: Debian's, on a free port of loopback, in a temporary folder, stopped at the end."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def missing() -> str | None:
    """Why no server can be started here."""
    try:
        import adbc_driver_postgresql  # noqa: F401
    except ImportError:
        return "the extra `postgres` is not installed"
    return None if _programs() is not None else "PostgreSQL is not installed (Debian: apt-get install postgresql)"


@contextmanager
def running() -> Iterator[str]:
    """The address of a fresh server."""
    with tempfile.TemporaryDirectory(prefix="postgres") as folder, _started(Path(folder)) as address:
        yield address


@contextmanager
def _started(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # PostgreSQL refuses to run as root.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres")
    data, programs = folder / "data", _programs() or Path()
    (folder / "password").write_text("sesame7")
    start = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    commands = [
        [programs / "initdb", "-D", data, "-U", "monitor", "-N", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}"],
        [programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", start, "start"],
    ]
    for command in commands:
        subprocess.run([*user, *map(str, command)], check=True, stdout=subprocess.DEVNULL, timeout=60, cwd="/")
    try:
        yield f"postgresql://monitor:sesame7@127.0.0.1:{port}/postgres"
    finally:
        stop = [programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"]
        subprocess.run([*user, *map(str, stop)], check=True, stdout=subprocess.DEVNULL, timeout=60, cwd="/")


def _programs() -> Path | None:
    """The folder of the server's programs; Debian keeps them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(p) for p in [shutil.which("initdb")] if p]
    return found[-1].parent if found else None
