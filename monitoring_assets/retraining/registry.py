"""The model registry: one experiment and one registered model per monitor in MLflow, roles as aliases.

`challenger` is the newest candidate, `champion` the model in force, `previous` the one it replaced. Which version
deserves which role is decided elsewhere; here the swap is made so that it can be repeated. Where MLflow keeps it is in
`model_store.py`. Only MLflow's client is used, which leaves no global tracking URI or active run behind; it is imported
inside functions, because it takes 2 s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from importlib.metadata import version as installed_version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from monitoring_assets.errors import ChampionMissing
from monitoring_assets.retraining.model_store import model_store, unreachable

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"

# Stated, because MLflow otherwise loads the model in another process to find them: 5 s a registration.
MODEL_REQUIREMENTS = ("mlflow", "scikit-learn", "skops", "cloudpickle", "pandas", "numpy")


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a monitor's model; `tags` are those it was registered and gated with."""

    version: str
    run_id: str
    tags: dict[str, str]

    @property
    def first_day(self) -> date | None:
        """First day of its training rows, where its tags say so."""
        return date.fromisoformat(self.tags["first_day"]) if "first_day" in self.tags else None

    @property
    def last_day(self) -> date | None:
        """Last day of its training rows, where its tags say so."""
        return date.fromisoformat(self.tags["last_day"]) if "last_day" in self.tags else None


class Registry:
    """The registry of one deployment: on a server that the environment names when this is made, else in this data folder, where
    `mlflow.db` and `mlflow_artifacts/` appear with the first registration."""

    def __init__(self, data_home: Path) -> None:
        self.data_home = Path(data_home).resolve()
        self.store = model_store(self.data_home)

    @cached_property
    def _client(self) -> Any:
        return self.store.client()

    def register(
        self,
        monitor: str,
        model: Any,
        sample: pd.DataFrame,
        *,
        metrics: Mapping[str, float],
        params: Mapping[str, object],
        tags: Mapping[str, str],
    ) -> str:
        """Store a fitted scikit-learn model as a new version with the alias `challenger`, and return the version.

        Parameters
        ----------
        sample : some rows of the features, from which the model's signature is read.
        metrics, params : logged on the version's run.
        tags : set on the run and on the version; `first_day` and `last_day` (ISO dates) name the training rows.
        """
        from mlflow.exceptions import MlflowException

        experiment_id = self._experiment(monitor)
        run_id = self._client.create_run(experiment_id, run_name="candidate", tags=dict(tags)).info.run_id
        try:
            logged = self._log_model(model, sample, experiment_id, run_id)
            for name, value in params.items():
                self._client.log_param(run_id, name, value)
            for name, number in metrics.items():
                self._client.log_metric(run_id, name, number, model_id=logged.model_id)
        except BaseException:
            self._client.set_terminated(run_id, "FAILED")
            raise
        self._client.set_terminated(run_id)
        try:
            self._client.create_registered_model(monitor)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        # The location, not models:/<id>: MLflow would look the id up through the global tracking URI.
        version = self._client.create_model_version(
            monitor, logged.artifact_location, run_id=run_id, tags=dict(tags), model_id=logged.model_id
        ).version
        self._client.set_registered_model_alias(monitor, CHALLENGER, version)
        return str(version)

    def _experiment(self, monitor: str) -> str:
        experiment = self._client.get_experiment_by_name(monitor)
        if experiment is not None:
            return str(experiment.experiment_id)
        return str(self._client.create_experiment(monitor, artifact_location=self.store.artifact_location))

    def _log_model(self, model: Any, sample: pd.DataFrame, experiment_id: str, run_id: str) -> Any:
        """The same as mlflow.sklearn.log_model, through the client."""
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model, infer_signature
        from mlflow.sklearn import save_model

        logged = self._client.create_logged_model(experiment_id, name="model", source_run_id=run_id)
        with TemporaryDirectory() as folder:
            save_model(
                model,
                f"{folder}/model",
                mlflow_model=Model(artifact_path=logged.artifact_location, run_id=run_id, model_id=logged.model_id),
                signature=infer_signature(sample, model.predict(sample)),
                pip_requirements=[f"{name}=={installed_version(name)}" for name in MODEL_REQUIREMENTS],
                **_serialisation(model),
            )
            self._client.log_model_artifacts(logged.model_id, f"{folder}/model")
        self._client.finalize_logged_model(logged.model_id, "READY")
        self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
        return logged

    def champion(self, monitor: str) -> RegisteredVersion | None:
        """The version in force, or None before the first promotion."""
        return self.find(monitor, CHAMPION)

    def find(self, monitor: str, version_or_alias: str) -> RegisteredVersion | None:
        """The version with that number or alias, or None where there is none."""
        if not self.store.exists:
            return None
        found = self._version(monitor, version_or_alias)
        return found and RegisteredVersion(str(found.version), found.run_id, dict(found.tags))

    def _version(self, monitor: str, version_or_alias: str) -> Any:
        client = self._client
        from mlflow.exceptions import MlflowException

        get = client.get_model_version if version_or_alias.isdecimal() else client.get_model_version_by_alias
        try:
            return get(monitor, version_or_alias)
        except MlflowException as error:
            # A missing model or version is the one code, a missing alias of a known model the other.
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return None

    def load(self, monitor: str, version_or_alias: str = CHAMPION) -> Any:
        """The scikit-learn model of a version or alias.

        Raises
        ------
        ChampionMissing
            When there is no such version, or its files are gone.
        """
        found = self._expect(monitor, version_or_alias)
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException
        from mlflow.sklearn import load_model

        location = self._client.get_model_version_download_uri(monitor, found.version)
        try:
            if self.store.folder is not None:
                return load_model(location)
            with TemporaryDirectory() as folder:
                return load_model(download_artifacts(location, dst_path=folder, tracking_uri=self.store.uri))
        except (MlflowException, OSError) as error:
            if self.store.folder is None and (named := unreachable(error)):
                raise named from None
            raise ChampionMissing(
                f"version {found.version} of model {monitor!r} is registered in {self.store.name}, but its files at "
                f"{location} cannot be loaded ({error}). Restore {self.store.files}, roll back, or train and promote a new model."
            ) from error

    def promote(self, monitor: str, version: str) -> None:
        """Make a version the champion and the old champion `previous`. The version is then no challenger any more.

        Done twice it changes nothing; killed half-way it can be done again.

        Raises
        ------
        ChampionMissing
            When there is no such version.
        """
        promoted = self._expect(monitor, version).version
        old = self.champion(monitor)
        if old is None or old.version != promoted:
            if old is not None:
                self._client.set_registered_model_alias(monitor, PREVIOUS, old.version)
            self._client.set_registered_model_alias(monitor, CHAMPION, promoted)
        self.refuse(monitor, promoted)

    def refuse(self, monitor: str, version: str) -> None:
        """Take the alias `challenger` from a version, which stays registered. Done twice it changes nothing."""
        challenger = self.find(monitor, CHALLENGER)
        if challenger is not None and challenger.version == version:
            self._client.delete_registered_model_alias(monitor, CHALLENGER)

    def rollback(self, monitor: str) -> RegisteredVersion:
        """Swap champion and previous; returns the version that is champion now.

        Raises
        ------
        ChampionMissing
            When there is no champion, or no other version it replaced.
        """
        champion, previous = self._expect(monitor, CHAMPION), self.find(monitor, PREVIOUS)
        if previous is None or previous.version == champion.version:
            raise ChampionMissing(
                f"model {monitor!r} cannot be rolled back: its champion, version {champion.version}, replaced no "
                "other. Train and promote another version first."
            )
        self._client.set_registered_model_alias(monitor, CHAMPION, previous.version)
        self._client.set_registered_model_alias(monitor, PREVIOUS, champion.version)
        return previous

    def log_gate(self, monitor: str, version: str, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Put the gate's evidence on a version: metrics on its run, tags on the run and the version.

        Raises
        ------
        ChampionMissing
            When there is no such version.
        """
        found = self._expect(monitor, version)
        for name, number in metrics.items():
            self._client.log_metric(found.run_id, name, number)
        for name, text in tags.items():
            self._client.set_tag(found.run_id, name, text)
            self._client.set_model_version_tag(monitor, found.version, name, text)

    def _expect(self, monitor: str, version_or_alias: str) -> RegisteredVersion:
        found = self.find(monitor, version_or_alias)
        if found is None:
            what = "version" if version_or_alias.isdecimal() else "alias"
            raise ChampionMissing(
                f"model {monitor!r} has no {what} {version_or_alias!r} in {self.store.name}. Materialise `model_candidate` "
                f"and `champion` of this monitor, or {self.store.remedy}."
            )
        return found


def _serialisation(model: Any) -> dict[str, Any]:
    """skops where it can bring the model back, else cloudpickle, as MLflow advises.

    The model was trained by this process, so its types are trusted; stored with it, loading accepts no others.
    """
    import skops.io

    try:
        stored = skops.io.dumps(model)
        types = skops.io.get_untrusted_types(data=stored)
        skops.io.loads(stored, trusted=types)
    except Exception:  # skops raises whatever the foreign type's constructor raises
        return {"serialization_format": "cloudpickle"}
    return {"serialization_format": "skops", "skops_trusted_types": types}
