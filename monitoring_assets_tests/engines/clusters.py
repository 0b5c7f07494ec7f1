"""Spark's own servers on loopback: a standalone master with workers, and Spark Connect."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

PATIENCE_SECONDS = 180.0


@contextmanager
def standalone(folder: Path, workers: int = 2) -> Iterator[tuple[str, list[int]]]:
    """The address of a master, and the processes of its workers, each of one core."""
    port = free_port()
    address = f"spark://127.0.0.1:{port}"
    with ExitStack() as running:
        master = ["org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"]
        running.enter_context(_server(folder, "master", master))
        _wait_for(port)
        begun = []
        for number in range(workers):
            worker = ["org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--cores", "1", "--memory", "1g"]
            worker += ["--webui-port", "0", "--work-dir", str(folder / f"work{number}"), address]
            begun.append(running.enter_context(_server(folder, f"worker{number}", worker)).pid)
        yield address, begun


@contextmanager
def connect_server(folder: Path, conf: dict[str, object], **environment: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a Spark Connect server whose executors are its own two threads, and its process."""
    port = free_port()
    settings = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": port,
        "spark.ui.enabled": "false",
    }
    listed = [
        part
        for name, value in {"spark.ui.enabled": "false", **settings, **conf}.items()
        for part in ("--conf", f"{name}={value}")
    ]
    service = "org.apache.spark.sql.connect.service.SparkConnectServer"
    submit = ["org.apache.spark.deploy.SparkSubmit", "--master", "local[2]", *listed, "--class", service, "spark-internal"]
    with _server(folder, "connect", submit, **environment) as process:
        _wait_for(port)
        yield f"sc://127.0.0.1:{port}", process


def executors_of(workers: Sequence[int]) -> list[int]:
    """The processes of executors that workers have started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            is_executor = "CoarseGrainedExecutorBackend" in (process / "cmdline").read_text()
        except OSError:
            continue
        if parent in workers and is_executor:
            found.append(int(process.name))
    return found


def is_at_work(executor: int) -> bool:
    """Whether an executor has started Python for a task."""
    children = Path(f"/proc/{executor}/task")
    return any((thread / "children").read_text().strip() for thread in children.glob("*")) if children.exists() else False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _server(folder: Path, name: str, command: Sequence[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    import pyspark

    spark_class = Path(pyspark.__file__).parent / "bin" / "spark-class"
    inherited = {"PYSPARK_PYTHON": sys.executable, "PYTHONPATH": os.pathsep.join(sys.path), "SPARK_LOCAL_IP": "127.0.0.1"}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(spark_class), *command], stdout=log, stderr=log, env=os.environ | inherited | environment, start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing listens on {port}")
        time.sleep(0.5)
