"""The deployment of deploy/compose.yaml: processes that share no disk bring a monitor from its first file to a promoted
candidate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.orchestration.daily_assets import DAILY_ASSETS, LABEL_ASSETS
from monitoring_assets.retraining.registry import Registry
from monitoring_assets.shared_warehouse.postgres_warehouse import PostgresWarehouse
from monitoring_assets.shared_warehouse.server import session
from monitoring_assets_tests import postgres_server
from monitoring_assets_tests.whole_loop import payments
from monitoring_assets_tests.whole_loop.dagster_dev import PACKAGE_ROOT, wait_until
from monitoring_assets_tests.whole_loop.deployed import CONFIGURATION, DEPLOY, Deployment

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(postgres_server.missing()), reason=str(postgres_server.missing()))]

LAUNCH = """
mutation Launch($job: JobOrPipelineSelector!) {
  launchRun(executionParams: {selector: $job, runConfigData: {execution: {config: {in_process: {}}}}}) { __typename }
}
"""


@dataclass
class Deployed:
    """The processes, and what the test sees of them: the instance and the results by their servers, the delivered files."""

    processes: Deployment
    instance: dg.DagsterInstance
    warehouse: PostgresWarehouse
    registry: Registry
    spec: MonitorSpec
    data: Path

    def wait_for_runs(self, assets: Sequence[str], days: Sequence[date] = ()) -> None:
        """Until a run of the newest days has made each of these assets; no run may have failed."""

        def are_there() -> bool:
            failed = self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
            assert not failed, self.processes.said()
            return all(self._made(name) >= {str(day) for day in days or [""]} for name in assets)

        wait_until(are_there, 300, lambda: f"{assets} of {days} were not made\n{self.processes.said()}", every=2)

    def _made(self, name: str) -> set[str]:
        """The partitions an asset has, the empty text where it has none of its own."""
        key = dg.AssetKey([self.spec.name, name])
        if name in (*DAILY_ASSETS, *LABEL_ASSETS):
            return self.instance.get_materialized_partitions(key)
        return {""} if self.instance.get_latest_materialization_event(key) else set()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder, project = tmp_path_factory.mktemp("machines"), tmp_path_factory.mktemp("image")
    data = tmp_path_factory.mktemp("volume")
    spec = payments.write_project(project, end_day=date.today(), minimum_improvement=-1.0).at_home(data)
    with postgres_server.running() as uri, pytest.MonkeyPatch.context() as patch:
        _make_databases(uri)
        account, _, place = uri.removeprefix("postgresql://").rpartition("@")
        of_code = {
            "MONITORING_ASSETS_HOME": str(data),
            "MONITORING_ASSETS_CHECK_EVERY_SECONDS": "5",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{project}:{PACKAGE_ROOT}",
        }
        given = {"POSTGRES_PASSWORD": account.partition(":")[2], "MONITORS": payments.MODULE}
        processes = Deployment(folder, place.partition("/")[0], given, of_code)
        environment = processes.environment_of("code")
        patch.setenv("DAGSTER_STORAGE", environment["DAGSTER_STORAGE"])
        patch.setenv("MLFLOW_TRACKING_URI", environment["MLFLOW_TRACKING_URI"])
        try:
            processes.start()
            with dg.DagsterInstance.from_config(str(processes.folder_of("daemon"))) as instance:
                warehouse = PostgresWarehouse(uri=environment["MONITORING_ASSETS_WAREHOUSE"])
                yield Deployed(processes, instance, warehouse, Registry(folder), spec, data)
        finally:
            processes.stop()


def _make_databases(uri: str) -> None:
    """As the image of PostgreSQL does with deploy/databases.sql."""
    with session(uri) as server:
        server.connection.adbc_connection.set_autocommit(True)
        for line in (DEPLOY / "databases.sql").read_text().splitlines():
            if not line.startswith("--"):
                server.run(line)
        server.connection.adbc_connection.set_autocommit(False)


def test_a_monitor_goes_from_its_first_file_to_a_promoted_candidate(deployed: Deployed) -> None:
    spec, days = deployed.spec, payments.QUIET_DAYS
    payments.write_reference(spec)
    location = {"repositoryLocationName": "monitoring_assets", "repositoryName": "__repository__", "jobName": "__ASSET_JOB"}
    job = location | {"assetSelection": [{"path": [spec.name, "reference_baseline"]}]}
    assert deployed.processes.webserver.ask(LAUNCH, job=job)["launchRun"]["__typename"] == "LaunchRunSuccess"
    deployed.wait_for_runs(["reference_baseline", "champion"])
    payments.serve(spec, deployed.registry, days)
    payments.deliver_labels(spec, days[:-1])
    deployed.wait_for_runs(DAILY_ASSETS, days)
    deployed.wait_for_runs(LABEL_ASSETS, days[:-1])
    payments.serve(spec, deployed.registry, [payments.DRIFTED_DAY], shift=3)
    deployed.wait_for_runs(DAILY_ASSETS, [payments.DRIFTED_DAY])
    wait_until(lambda: _champion(deployed) == "2", 300, deployed.processes.said, every=2)
    found = deployed.warehouse.query(f"SELECT * FROM {spec.name}.retrain_decisions WHERE candidate_version = '2'")
    assert list(found["verdict"]) == ["promoted"]
    assert "amount" in found["reason"][0]


def test_no_process_keeps_anything_on_its_disk_but_the_delivered_files(deployed: Deployed) -> None:
    assert {path.relative_to(deployed.data).parts[0] for path in deployed.data.rglob("*")} == {
        "log",
        "labels",
        "reference.parquet",
    }
    for service in ("code", "webserver", "daemon", "mlflow"):
        home = deployed.processes.folder_of(service)
        left = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()} - set(CONFIGURATION)
        assert left == set(), service


def _champion(deployed: Deployed) -> str | None:
    found = deployed.registry.champion(deployed.spec.name)
    return found and found.version
