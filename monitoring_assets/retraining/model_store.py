"""Where MLflow keeps the models: in the data folder, or on the server that `MLFLOW_TRACKING_URI` names.

What is asked of a server fails under a name, and no part of its address is in a message. What is kept there, and for whom, is
`registry.py`'s.
"""

import logging
import os
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from monitoring_assets.errors import RegistryUnavailable, RegistryUnusable

VARIABLE = "MLFLOW_TRACKING_URI"
ARTIFACTS = "mlflow_artifacts"
# Where MLflow's store in a file holds addresses of files below an experiment's `artifact_location`.
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
# What a server says that refuses for good, as MLflow's codes and as HTTP's.
REFUSALS = {"UNAUTHENTICATED", "PERMISSION_DENIED", "401", "403"}


@dataclass(frozen=True)
class ModelStore:
    """`name` and `remedy` are what messages say of it; `folder` is the data folder where it is kept there."""

    uri: str
    name: str
    remedy: str
    folder: Path | None

    @property
    def exists(self) -> bool:
        """Whether there is anything to ask. Answers without importing MLflow or making a store."""
        return self.folder is None or (self.folder / "mlflow.db").exists()

    @property
    def files(self) -> str:
        """What holds the models, in words."""
        return "its database and its artifacts" if self.folder is None else f"mlflow.db and {ARTIFACTS}/"

    @property
    def artifact_location(self) -> str | None:
        """Where the files of a new experiment go; a server says so itself."""
        return None if self.folder is None else (self.folder / ARTIFACTS).as_uri()

    def client(self) -> Any:
        """MLflow's client for it; a store in the data folder is made on first use."""
        quiet_mlflow()
        from mlflow import MlflowClient

        if self.folder is None:
            return _Named(MlflowClient(tracking_uri=self.uri, registry_uri=self.uri))
        self.folder.mkdir(parents=True, exist_ok=True)
        _follow_the_folder(self.folder)
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)


def model_store(data_home: Path) -> ModelStore:
    """The server that the environment names, else the store in the data folder."""
    uri = os.environ.get(VARIABLE, "").strip()
    if uri:
        return ModelStore(uri, f"the MLflow server of {VARIABLE}", f"set {VARIABLE} to the server that holds it", None)
    store = data_home / "mlflow.db"
    remedy = "set MONITORING_ASSETS_HOME to the data folder that holds it"
    return ModelStore(f"sqlite:///{store}", str(store), remedy, data_home)


def quiet_mlflow() -> None:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow  # noqa: F401  (importing it sets its log levels, so they are lowered afterwards)

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)


class _Named:
    """A client of a server, whose calls fail as errors of ours where the server cannot be asked."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        @wraps(call)
        def named(*arguments: Any, **options: Any) -> Any:
            try:
                return call(*arguments, **options)
            except Exception as error:
                raise (unreachable(error) or error) from None

        return named


def unreachable(error: Exception) -> RegistryUnavailable | RegistryUnusable | None:
    """What an error of MLflow's client says of the server, under our name; None where the server was asked and has answered.

    MLflow itself tries again for two minutes before it says that nobody answers (`MLFLOW_HTTP_REQUEST_MAX_RETRIES`).
    """
    said, status = str(error), getattr(getattr(error, "response", None), "status_code", None)
    by_http = re.search(r"failed with error code (\d+)", said)
    code = by_http[1] if by_http else str(status or getattr(error, "error_code", ""))
    if code in REFUSALS:
        return RegistryUnusable(
            f"the MLflow server of {VARIABLE} refuses what is asked of it ({code}). Correct MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, or give their user the right to write models."
        )
    is_down = "failed with exception" in said or code.startswith("5") or type(error).__module__.startswith("requests.")
    if is_down or code in ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"):
        why = f"status {code}" if code.isdecimal() else type(error.__context__ or error).__name__
        return RegistryUnavailable(f"the MLflow server of {VARIABLE} does not answer ({why}). The run is retried.")
    return None


def _follow_the_folder(data_home: Path) -> None:
    """If the data folder was moved, rewrite the absolute addresses of MLflow's files, which no call of its client changes. A
    folder without the files is left alone, for they may still lie where the store says.
    """
    file, artifacts = data_home / "mlflow.db", data_home / ARTIFACTS
    if not file.exists() or not artifacts.exists():
        return
    with closing(sqlite3.connect(file)) as store, store:
        known = store.execute("SELECT name FROM sqlite_master WHERE name = 'experiments'").fetchone()
        found = store.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall() if known else []
        here = artifacts.as_uri()
        for old in [old for (old,) in found if old and old != here and old.endswith(f"/{ARTIFACTS}")]:
            for table, column in ADDRESSES:
                store.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    [here, len(old) + 1, len(old), old],
                )
