"""The Spark session of a monitor's `engine`, one per process and address, and what its errors mean.

pyspark is imported when a monitor that declares Spark is worked on, never before.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from monitoring_assets.engines.executor import UNLIKE
from monitoring_assets.errors import EngineUnusable, MonitoringError, SourceUnavailable, SourceUnreadable
from monitoring_assets.monitor_spec import Spark

# What a pass needs: times as instants, and Arrow batches that are neither tiny nor larger than an executor's memory.
SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",
    "spark.sql.execution.arrow.maxBytesPerBatch": str(64 << 20),
}
# Spark Connect would try for ten minutes to reach a server that is gone; whoever started the run tries it again.
RETRIES = {"max_retries": 6, "initial_backoff": 50, "max_backoff": 10_000, "backoff_multiplier": 4.0}
# How Spark says that the cluster, or the way to it, is gone.
LOST = (
    "UNAVAILABLE", "SparkContext was shut down", "SparkContext has been shutdown", "stopped SparkContext", "Connection refused",
    "Answer from Java side is empty", "An error occurred while trying to connect to the Java server", "SESSION_NOT_FOUND",
    "INVALID_HANDLE.SESSION", "Error while sending or receiving", "All masters are unresponsive", "SESSION_CLOSED",
    "Java gateway process exited", "DEADLINE_EXCEEDED", "ExecutorLostFailure", "SESSION_CHANGED",
)  # fmt: skip
ABSENT = ("TABLE_OR_VIEW_NOT_FOUND", "PATH_NOT_FOUND", "UNABLE_TO_INFER_SCHEMA", "SCHEMA_NOT_FOUND", "CATALOG_NOT_FOUND")

_SESSIONS: dict[str, Any] = {}


def session_of(spark: Spark) -> Any:
    """A session of this Spark; the one this process has already, while it lasts.

    Raises
    ------
    EngineUnusable
        When pyspark is not installed, or the environment variable with the address is not set.
    SourceUnavailable
        When Spark does not answer.
    """
    try:
        sessions = import_module("pyspark.sql").SparkSession
    except ImportError:
        raise EngineUnusable("`engine.spark` needs pyspark: pip install 'monitoring-assets[spark]'") from None
    key = spark.model_dump_json()
    if key in _SESSIONS:
        return _SESSIONS[key]
    with spark_errors(spark, "Spark"):
        session = _classic(sessions.builder, spark) if spark.master is not None else _connected(sessions.builder, spark)
        for name, value in SETTINGS.items():
            session.conf.set(name, value)
    _SESSIONS[key] = session
    return session


def _classic(builder: Any, spark: Spark) -> Any:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = builder.master(spark.master).appName("monitoring-assets")
    for name, value in {"spark.ui.enabled": False, "spark.ui.showConsoleProgress": False, **spark.config}.items():
        builder = builder.config(name, _text(value))
    return builder.getOrCreate()


def _connected(builder: Any, spark: Spark) -> Any:
    session = builder.remote(_address(spark)).getOrCreate()
    retries = import_module("pyspark.sql.connect.client.retries")
    session.client.set_retry_policies([retries.DefaultPolicy(**RETRIES)])
    for name, value in spark.config.items():
        session.conf.set(name, _text(value))
    return session


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@contextmanager
def spark_errors(spark: Spark, what: str) -> Iterator[None]:
    """Errors of Spark as ours: what cannot be read, an executor that is not as it must be, a cluster that is gone."""
    try:
        yield
    except MonitoringError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        raise _as_ours(spark, what, text) from None


def _as_ours(spark: Spark, what: str, text: str) -> MonitoringError:
    where = spark.master or spark.remote or f"the address in {spark.remote_env}"
    if UNLIKE in text:
        return EngineUnusable(
            f"{what}: an executor of {where} is unlike the driver: {_line(text.partition(UNLIKE)[2])}. Results would differ, so "
            "nothing was measured. Install the driver's versions on the executors."
        )
    missing = re.search(r"No module named '([\w.]+)'", text)
    if missing:
        return EngineUnusable(
            f"{what}: an executor of {where} has no Python module {missing[1]!r}. Executors need monitoring-assets, with DuckDB, "
            "pyarrow, NumPy, pydantic and tenacity: install them in the Python of the executors, or ship it with "
            "`spark.archives` (docs/scale.md)."
        )
    if "PYTHON_VERSION_MISMATCH" in text or "Python in worker has different version" in text:
        return EngineUnusable(
            f"{what}: the executors of {where} run another Python than this driver ({sys.version.split()[0]}): {_line(text)}. "
            "Set PYSPARK_PYTHON, or `spark.pyspark.python` in `engine.spark.config`, to the same version."
        )
    if any(sign in text for sign in LOST):
        _SESSIONS.pop(spark.model_dump_json(), None)
        return SourceUnavailable(f"{what}: Spark at {where} does not answer, or was lost: {_line(text)}")
    if any(sign in text for sign in ABSENT):
        return SourceUnreadable(f"{what}: Spark at {where} knows no such table: {_line(text)}. Correct `table` in the YAML.")
    return SourceUnreadable(f"{what}: Spark at {where} could not read it: {_line(text)}")


def _address(spark: Spark) -> str:
    if spark.remote is not None:
        return spark.remote
    address = os.environ.get(str(spark.remote_env), "")
    if not address.startswith("sc://"):
        found = "it is not set" if not address else "it holds something else"
        raise EngineUnusable(
            f"the environment variable {spark.remote_env} must hold the address of Spark Connect, sc://...: {found}"
        )
    return address


def _line(text: str) -> str:
    """The first line, without what may be a token."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "no message")
    return re.sub(r"(token|key)=[^;\s]+", r"\1=...", first)[:400].rstrip(" .")
