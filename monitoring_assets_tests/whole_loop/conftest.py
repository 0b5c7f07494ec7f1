"""One running `dagster dev` for all tests that need a real one: a project, a first champion, ten quiet labelled days."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from monitoring_assets.components.model_monitor import build_monitor
from monitoring_assets.demo.instance.home import demo_dagster_home
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.orchestration.daily_assets import DAILY_ASSETS, LABEL_ASSETS
from monitoring_assets.orchestration.monitor_driver import MonitorDriver
from monitoring_assets.retraining.registry import Registry
from monitoring_assets_tests.whole_loop import payments
from monitoring_assets_tests.whole_loop.dagster_dev import PACKAGE_ROOT, DagsterDev


@dataclass
class Shop:
    """A served project: its monitor, its data folder, its instance, its server."""

    spec: MonitorSpec
    project: Path
    home: Path
    instance: dg.DagsterInstance
    server: DagsterDev


@pytest.fixture(scope="package")  # a server that outlived these tests would slow all others
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder, home = tmp_path_factory.mktemp("shop_project"), tmp_path_factory.mktemp("shop_home")
    spec = payments.write_project(folder).at_home(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONITORING_ASSETS_HOME", str(home))
        # The demo's instance: its days have ended too, and Dagster alone plots none of those.
        patch.setenv("DAGSTER_HOME", str(demo_dagster_home(home)))
        with dg.DagsterInstance.get() as instance:
            _first_days(spec, home, instance)
            environment = {"PYTHONPATH": str(PACKAGE_ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
            environment["MONITORING_ASSETS_CHECK_EVERY_SECONDS"] = "5"
            server = DagsterDev(folder, payments.MODULE, environment, home / "dagster_dev.log")
            try:
                server.start()
                yield Shop(spec, folder, home, instance, server)
            finally:
                server.stop()


def _first_days(spec: MonitorSpec, home: Path, instance: dg.DagsterInstance) -> None:
    """What happened before anybody looks: the reference, the first champion, quiet days and their labels."""
    driver, registry = MonitorDriver(build_monitor(spec), spec, instance), Registry(home)
    payments.write_reference(spec)
    driver.materialise("reference_baseline")
    assert driver.tick(), "there is no champion yet, so the first tick must ask for one"
    days = payments.QUIET_DAYS
    payments.serve(spec, registry, days)
    driver.run_days(DAILY_ASSETS, str(days[0]), str(days[-1]))
    labelled = payments.newest_due(spec, days)
    payments.deliver_labels(spec, labelled)
    driver.run_days(LABEL_ASSETS, str(labelled[0]), str(labelled[-1]))
    assert not driver.tick(), "quiet days must not ask for a retrain"
