"""The README against the code: its table of assets, its checks, jobs and commands."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from monitoring_assets.cli import app
from monitoring_assets.components.model_monitor import build_monitor
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.warehouse_tables import TABLES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def spec() -> MonitorSpec:
    """The flights' monitor, as its YAML says."""
    declared = yaml.safe_load((ROOT / "monitoring_assets/defs/flights/defs.yaml").read_text())
    return MonitorSpec.model_validate(declared["attributes"])


@pytest.fixture(scope="module")
def repository(spec):
    return build_monitor(spec).get_repository_def()


def test_the_table_of_assets_is_what_a_monitor_becomes(repository) -> None:
    reported = dict(re.findall(r"^\| `(\w+)` \| (none|daily) \|", README, re.MULTILINE))
    graph = repository.asset_graph
    found = {key.path[-1]: "daily" if graph.get(key).is_partitioned else "none" for key in graph.materializable_asset_keys}
    assert reported == found


def test_every_check_job_and_sensor_is_named(repository, spec) -> None:
    for key in repository.asset_graph.asset_check_keys:
        assert f"`{key.name}`" in README
    for name in [job.name for job in repository.get_all_jobs() if not job.name.startswith("__")]:
        assert f"`{name.replace(spec.name, 'NAME')}`" in README
    for name in repository.sensor_defs:
        assert f"`{name.name.replace(spec.name, 'NAME')}`" in README


def test_the_monitor_of_ones_own_is_a_valid_one() -> None:
    (block,) = re.findall(r"```yaml\n(type: .*?)```", README, re.DOTALL)
    own = MonitorSpec.model_validate(yaml.safe_load(block)["attributes"])
    assert (own.name, own.label.delay_days) == ("fraud", 14)


def test_the_commands_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make (\w+)", README)) <= targets
    shown = CliRunner().invoke(app, ["demo", "--help"]).output
    assert all(option in shown for option in ("--no-ui", "--json", "--fresh"))


def test_tables_and_files_named_are_there() -> None:
    for name in re.findall(r"flights\.(\w+)\s", README):
        assert name in TABLES
    for path in re.findall(r"\]\(((?:docs|[A-Z]+\.md)[^)]*)\)", README):
        assert (ROOT / path).exists(), path
