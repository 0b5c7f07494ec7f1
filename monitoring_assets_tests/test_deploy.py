"""The files of deploy/ agree with each other and with the code. What they start is run by whole_loop/test_deployment.py."""

import re
from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance

from monitoring_assets.retraining import model_store
from monitoring_assets.shared_warehouse import server

DEPLOY = Path(__file__).parents[1] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
HELM = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "monitoring-assets"}


def test_the_services_are_those_the_docs_name() -> None:
    assert set(COMPOSE["services"]) == {"postgres", "mlflow", "code", "webserver", "daemon"}
    docs = (DEPLOY.parent / "docs/scale.md").read_text()
    assert all(f"`{name}`" in docs for name in COMPOSE["services"])


def test_every_process_is_told_where_results_and_models_are() -> None:
    for service in OURS.values():
        assert {server.VARIABLE, model_store.VARIABLE, "DAGSTER_STORAGE"} <= set(service["environment"])


def test_only_the_ui_is_published_and_on_loopback() -> None:
    published = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}
    assert published == {"webserver": ["127.0.0.1:3000:3000"]}


def test_no_password_is_written_down() -> None:
    for file in DEPLOY.iterdir():
        assert not re.search(r"://[^\s/]+:(?!\$\{)[^\s/@]+@", file.read_text()), file.name
    assert re.search(r"^POSTGRES_PASSWORD=$", (DEPLOY / "example.env").read_text(), re.MULTILINE)


def test_each_database_that_is_named_is_made() -> None:
    made = set(re.findall(r"CREATE DATABASE (\w+)", (DEPLOY / "databases.sql").read_text()))
    assert set(re.findall(r"@postgres:5432/(\w+)", (DEPLOY / "compose.yaml").read_text())) == made
    assert HELM["postgresql"]["postgresqlDatabase"] in made


def test_the_chart_serves_what_the_compose_file_serves() -> None:
    (code,) = HELM["dagster-user-deployments"]["deployments"]
    command = OURS["code"]["command"].replace("${MONITORS:-monitoring_assets.definitions}", "monitoring_assets.definitions")
    assert command.endswith(" ".join(code["dagsterApiGrpcArgs"]))
    assert str(code["port"]) == OURS["code"]["environment"]["CODE_PORT"]


def test_dagster_accepts_its_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it but the storage, for which there is no server here."""
    settings = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    assert settings.pop("storage") == {"postgres": {"postgres_url": {"env": "DAGSTER_STORAGE"}}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled


def test_the_image_holds_what_its_processes_read() -> None:
    image = (DEPLOY / "Dockerfile").read_text()
    assert all(f"deploy/{name}" in image for name in ("dagster.yaml", "workspace.yaml"))
    for source in re.findall(r"^COPY (.+) \S+$", image, re.MULTILINE):
        assert all((DEPLOY.parent / name).exists() for name in source.split())
