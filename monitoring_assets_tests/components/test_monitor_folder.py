"""Laws of the folder of monitors: it loads what as many components would, and names file and line of a mistake as they do."""

import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster.components.core.component_tree import ComponentTree

from monitoring_assets.components.model_monitor import LEAVE_OUT_REFUSED, monitors_in
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.orchestration.every_monitor import monitors_of
from monitoring_assets_tests.example_monitor import example_content

NUMBERS = count()
LINE = len(yaml.safe_dump(example_content(name="fraud"), sort_keys=False).splitlines()) + 1
Project = Callable[..., ComponentTree]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Writes a project whose defs folder holds a folder of monitors: their files, by name."""

    def write(settings: str = "", **files: str) -> ComponentTree:
        package = f"their_folder_{next(NUMBERS)}"
        models = tmp_path / package / "defs" / "models"
        models.mkdir(parents=True)
        (tmp_path / "dg.toml").write_text(f'directory_type = "project"\n[project]\nroot_module = "{package}"\n')
        (models / "defs.yaml").write_text(f"type: monitoring_assets.components.MonitorFolder\n{settings}")
        for name, text in files.items():
            (models / f"{name}.yaml").write_text(text)
        return ComponentTree.for_project(tmp_path)

    monkeypatch.syspath_prepend(str(tmp_path))
    return write


def written(name: str) -> str:
    return yaml.safe_dump(example_content(name=name), sort_keys=False)


def refusal(tree: ComponentTree) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011  (Dagster wraps the error; its text is what a person reads)
        tree.build_defs()
    return "".join(traceback.format_exception(caught.value))


def test_a_folder_loads_the_monitors_of_its_files_with_one_sensor_of_each_kind(project: Project) -> None:
    tree = project(fraud=written("fraud"), churn=written("churn"))
    specs = [MonitorSpec.model_validate(example_content(name=name)) for name in ("churn", "fraud")]
    assert monitors_in(tree) == specs
    repository = tree.build_defs().get_repository_def()
    assert monitors_of(repository) == specs
    assert len(repository.sensor_defs) == 4


def test_beside_components_of_single_monitors_the_sensors_are_there_once(project: Project, tmp_path: Path) -> None:
    tree = project(fraud=written("fraud"))
    single = next(tmp_path.glob("their_folder_*/defs")) / "churn" / "defs.yaml"
    single.parent.mkdir()
    indented = "".join(f"  {line}\n" for line in written("churn").splitlines())
    single.write_text(f"type: monitoring_assets.components.ModelMonitor\nattributes:\n{indented}")
    repository = tree.build_defs().get_repository_def()
    assert {spec.name for spec in monitors_of(repository)} == {"fraud", "churn"}
    assert len(repository.sensor_defs) == 4


def test_templates_are_filled_in_and_a_text_that_is_a_number_is_read_as_in_a_component(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGS", "/logs")
    text = written("fraud").replace("log/{day}.parquet", "'{{ env.LOGS }}/{day}.parquet'")
    (spec,) = monitors_in(project(fraud=text.replace("delay_days: 1", "delay_days: '2'")))
    assert (spec.log.path, spec.label.delay_days if spec.label else None) == ("/logs/{day}.parquet", 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (written("fraud") + "feeling: 1\n", f"fraud.yaml:{LINE}, feeling: unknown key"),
        (written("fraud") + "name: again\n", f"fraud.yaml:{LINE}, the key 'name' stands here a second time, first on line 1"),
        ("name: [", "fraud.yaml is no YAML"),
        ("- name", "fraud.yaml holds no settings of a monitor"),
        ("", "fraud.yaml holds no settings of a monitor"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_line_and_harms_no_other_where_that_is_asked_for(
    project: Project, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    tree = project(fraud=text, churn=written("churn"))
    assert expected in refusal(tree)
    monkeypatch.setenv(LEAVE_OUT_REFUSED, "1")
    left = ComponentTree.for_project(tree.defs_module_path.parents[1])
    definitions = left.build_defs()
    assert [spec.name for spec in monitors_in(left)] == ["churn"]
    described = definitions.resolve_asset_graph().get(dg.AssetKey(["fraud", "refused"])).description
    assert expected in str(described)


def test_a_folder_without_files_says_what_to_put_there(project: Project) -> None:
    said = refusal(project("attributes: {files: 'live/*.yaml'}\n", fraud=written("fraud")))
    assert "holds no file live/*.yaml: put a YAML file per monitor there, or correct `files`" in said
