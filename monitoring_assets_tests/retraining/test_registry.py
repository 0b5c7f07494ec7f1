"""Laws of the registry, on one real MLflow store in a folder and one of a server: laws that swap aliases use a monitor of their
own."""

import logging
import os
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from monitoring_assets.errors import ChampionMissing
from monitoring_assets.retraining.registry import Registry
from monitoring_assets.retraining.training import gradient_boosting, predict
from monitoring_assets_tests import mlflow_server

pytestmark = pytest.mark.slow

TAGS = {"first_day": "2013-01-01", "last_day": "2013-02-28"}
ROWS = pd.DataFrame({"country": ["NL", "BE", None, "DE"] * 50, "amount": np.arange(200.0)})
TARGET = pd.Series([0.0, 1.0] * 100)


class Foreign(BaseEstimator):
    """A user's own estimator, with a lambda, which skops cannot store."""

    def fit(self, features: pd.DataFrame, target: pd.Series) -> "Foreign":
        self.mean_, self.state_ = float(target.mean()), (lambda: 3)
        return self

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        return np.full(len(features), self.mean_ + self.state_())


@pytest.fixture(scope="module", params=["folder", pytest.param("server", marks=pytest.mark.long)])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    home = tmp_path_factory.mktemp("data home")
    if request.param == "folder":
        yield Registry(home)
        return
    with mlflow_server.running(tmp_path_factory.mktemp("server")) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", address)
        yield Registry(home)
    assert not list(home.iterdir())


@pytest.fixture(scope="module")
def model():
    return gradient_boosting(ROWS, TARGET, "classification")


def register(registry: Registry, monitor: str, model, **tags: str) -> str:
    return registry.register(monitor, model, ROWS.head(20), metrics={"auc": 0.7}, params={"rows": len(ROWS)}, tags=TAGS | tags)


@pytest.fixture
def two_versions(request: pytest.FixtureRequest, registry: Registry, model) -> tuple[str, str, str]:
    monitor = request.node.name
    return monitor, register(registry, monitor, model), register(registry, monitor, model)


def alias(registry: Registry, monitor: str, name: str) -> str | None:
    found = registry.find(monitor, name)
    return found and found.version


def folder(registry: Registry, monitor: str, version: str) -> Path:
    location = urlparse(registry._client.get_model_version_download_uri(monitor, version))
    if location.scheme == "mlflow-artifacts":
        return mlflow_server.artifacts_of(registry.store.uri) / location.path.lstrip("/")
    return Path(url2pathname(location.path))


def model_files(registry: Registry, monitor: str, version: str) -> list[str]:
    return [path.name for path in folder(registry, monitor, version).glob("model.*")]


def test_an_absent_store_has_no_champion_and_stays_absent(tmp_path: Path) -> None:
    empty = Registry(tmp_path / "nowhere")
    assert empty.champion("flights") is None
    with pytest.raises(ChampionMissing, match="Materialise `model_candidate` and `champion`"):
        empty.load("flights")
    assert not (tmp_path / "nowhere").exists()


def test_a_model_comes_back_as_it_was_registered(registry: Registry, model) -> None:
    version = register(registry, "flights", model)
    assert version == "1"
    assert alias(registry, "flights", "challenger") == "1"
    assert registry.champion("flights") is None
    for name in (version, "challenger"):
        loaded = registry.load("flights", name)
        assert (predict(loaded, ROWS, "classification") == predict(model, ROWS, "classification")).all()


def test_a_model_is_stored_as_skops_with_its_evidence(registry: Registry, model) -> None:
    found = registry.find("evidence", register(registry, "evidence", model, data_digest="abc"))
    assert found is not None
    assert (found.first_day, found.last_day) == (date(2013, 1, 1), date(2013, 2, 28))
    assert found.tags["data_digest"] == "abc"
    registry.log_gate("evidence", found.version, {"gate_auc": 0.7}, {"verdict": "refused"})
    run = registry._client.get_run(found.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"auc": 0.7, "gate_auc": 0.7}
    assert run.data.params == {"rows": "200"}
    assert run.data.tags["verdict"] == "refused"
    assert registry.find("evidence", found.version).tags["verdict"] == "refused"
    assert model_files(registry, "evidence", found.version) == ["model.skops"]


def test_a_model_skops_cannot_bring_back_is_stored_all_the_same(registry: Registry) -> None:
    version = register(registry, "foreign", Foreign().fit(ROWS, TARGET))
    assert model_files(registry, "foreign", version) == ["model.pkl"]
    assert registry.load("foreign", version).predict(ROWS.head(2)).tolist() == [3.5, 3.5]


def test_mlflow_is_left_as_it_was_found(registry: Registry, model) -> None:
    register(registry, "traceless", model)
    assert mlflow.active_run() is None
    if registry.store.folder is not None:
        assert mlflow.get_tracking_uri() != registry.store.uri
        assert "MLFLOW_TRACKING_URI" not in os.environ
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert not logging.getLogger("mlflow.store.db.utils").isEnabledFor(logging.INFO)


def test_promotion_moves_champion_to_previous(registry: Registry, two_versions) -> None:
    monitor, first, second = two_versions
    registry.promote(monitor, first)
    assert (alias(registry, monitor, "champion"), alias(registry, monitor, "previous")) == (first, None)
    assert alias(registry, monitor, "challenger") == second
    registry.promote(monitor, second)
    assert (alias(registry, monitor, "champion"), alias(registry, monitor, "previous")) == (second, first)
    assert alias(registry, monitor, "challenger") is None


def test_promotion_twice_is_promotion_once(registry: Registry, two_versions) -> None:
    monitor, first, second = two_versions
    for version in (first, second, second):
        registry.promote(monitor, version)
    assert (alias(registry, monitor, "champion"), alias(registry, monitor, "previous")) == (second, first)


def test_a_promotion_killed_half_way_can_be_done_again(registry: Registry, two_versions, monkeypatch) -> None:
    monitor, first, second = two_versions
    registry.promote(monitor, first)
    put = registry._client.set_registered_model_alias

    def die_before_champion(name: str, role: str, version: str) -> None:
        if role == "champion":
            raise KeyboardInterrupt
        put(name, role, version)

    with monkeypatch.context() as patch:
        patch.setattr(registry._client, "set_registered_model_alias", die_before_champion)
        with pytest.raises(KeyboardInterrupt):
            registry.promote(monitor, second)
    assert alias(registry, monitor, "champion") == first
    registry.promote(monitor, second)
    assert (alias(registry, monitor, "champion"), alias(registry, monitor, "previous")) == (second, first)


def test_rollback_undoes_a_promotion_and_itself(registry: Registry, two_versions) -> None:
    monitor, first, second = two_versions
    registry.promote(monitor, first)
    registry.promote(monitor, second)
    assert registry.rollback(monitor).version == first
    assert (alias(registry, monitor, "champion"), alias(registry, monitor, "previous")) == (first, second)
    assert registry.rollback(monitor).version == second
    assert (alias(registry, monitor, "champion"), alias(registry, monitor, "previous")) == (second, first)


def test_without_a_previous_champion_there_is_no_rollback(registry: Registry, two_versions) -> None:
    monitor, first, _ = two_versions
    with pytest.raises(ChampionMissing, match="has no alias 'champion'"):
        registry.rollback(monitor)
    registry.promote(monitor, first)
    with pytest.raises(ChampionMissing, match="replaced no other"):
        registry.rollback(monitor)
    assert alias(registry, monitor, "champion") == first


def test_an_unknown_version_is_not_promoted(registry: Registry, two_versions) -> None:
    monitor, *_ = two_versions
    with pytest.raises(ChampionMissing, match="has no version '99'"):
        registry.promote(monitor, "99")
    assert registry.champion(monitor) is None


def test_a_model_whose_files_are_gone_says_so(registry: Registry, model) -> None:
    version = register(registry, "lost", model)
    files = folder(registry, "lost", version)
    files.rename(files.with_name("elsewhere"))
    with pytest.raises(ChampionMissing, match="cannot be loaded"):
        registry.load("lost", version)


def test_a_second_registry_of_the_folder_sees_the_champion(registry: Registry, two_versions) -> None:
    monitor, first, _ = two_versions
    registry.promote(monitor, first)
    assert Registry(registry.data_home).champion(monitor) == registry.champion(monitor)


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_data_folder_that_was_moved_still_has_its_models_and_takes_new_ones(tmp_path: Path, model, how: str) -> None:
    old, new = tmp_path / "old home", tmp_path / "elsewhere" / "new home"
    first = register(Registry(old), "moving", model)
    Registry(old).promote("moving", first)
    if how == "moved":
        shutil.move(old, new)
    else:
        shutil.copytree(old, new)
        shutil.rmtree(old / "mlflow_artifacts")
    after = Registry(new)
    expected = predict(model, ROWS, "classification")
    assert np.array_equal(predict(after.load("moving"), ROWS, "classification"), expected)
    second = register(after, "moving", model)
    assert np.array_equal(predict(after.load("moving", second), ROWS, "classification"), expected)
    assert not (old / "mlflow_artifacts").exists()
