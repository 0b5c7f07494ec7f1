"""Laws of the component: what loads, what is refused and how the refusal reads. Each project is a real one, in a folder."""

import subprocess
import sys
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster.components.core.component_tree import ComponentTree

from monitoring_assets.components import ModelMonitor
from monitoring_assets.components.model_monitor import LEAVE_OUT_REFUSED, build_monitor, monitors_in
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.orchestration.every_monitor import monitors_of
from monitoring_assets_tests.example_monitor import example_content, example_spec

SENSOR_NAMES = ["alert_on_severity", "new_log_data", "nightly_days", "retrain_on_drift"]
HEAVY = ("great_expectations", "mlflow", "sklearn", "scipy", "pandas")
TYPE = "monitoring_assets.components.ModelMonitor"
NUMBERS = count()

Project = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Writes a project of somebody else's: a dg.toml, and a package that holds a defs folder and nothing more."""

    def write(**monitors: dict[str, Any] | str) -> Path:
        package = f"their_models_{next(NUMBERS)}"
        (tmp_path / package).mkdir()
        (tmp_path / "dg.toml").write_text(f'directory_type = "project"\n[project]\nroot_module = "{package}"\n')
        for folder, content in monitors.items():
            target = tmp_path / package / "defs" / folder / "defs.yaml"
            target.parent.mkdir(parents=True)
            text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
            indented = "".join(f"  {line}\n" for line in text.splitlines())
            target.write_text(f"type: {TYPE}\nattributes:\n{indented}")
        return tmp_path

    monkeypatch.syspath_prepend(str(tmp_path))
    return write


def loaded(folder: Path) -> tuple[list[MonitorSpec], dg.Definitions]:
    tree = ComponentTree.for_project(folder)
    return monitors_in(tree), tree.build_defs()


def refusal(folder: Path) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011  (Dagster wraps the error; its text is what a person reads)
        loaded(folder)
    return "".join(traceback.format_exception(caught.value))


@pytest.mark.slow
def test_loading_the_code_location_imports_none_of_the_heavy_libraries() -> None:
    probe = f"import sys, monitoring_assets.definitions; print([name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", probe], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


def test_a_project_that_has_only_a_defs_folder_loads_two_monitors_side_by_side(project: Project) -> None:
    folder = project(one=example_content(name="one"), two=example_content(name="two"))
    specs, defs = loaded(folder)
    assert sorted(spec.name for spec in specs) == ["one", "two"]
    keys = {key.path[0]: 0 for key in defs.resolve_all_asset_keys()}
    for key in defs.resolve_all_asset_keys():
        keys[key.path[0]] += 1
    assert keys == {"one": 8, "two": 8}
    assert sorted(sensor.name for sensor in defs.get_repository_def().sensor_defs) == SENSOR_NAMES
    assert monitors_of(defs.get_repository_def()) == specs
    dg.Definitions.validate_loadable(defs)


def test_a_template_in_a_path_is_filled_from_the_environment(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_FOLDER", "/logs/here")
    (spec,), _ = loaded(project(example=example_content(log={"path": "{{ env.LOG_FOLDER }}/{day}.parquet"})))
    assert spec.log.path == "/logs/here/{day}.parquet"


def test_a_variable_that_is_not_set_is_named_instead_of_becoming_the_text_none(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOG_FOLDER", raising=False)
    reported = refusal(project(example=example_content(log={"path": "{{ env.LOG_FOLDER }}/{day}.parquet"})))
    assert "monitor 'example'" in reported
    assert "LOG_FOLDER is not set" in reported


VALID = """\
name: example
id: id
event_time: at
start_day: 2026-03-01
features:
  amount: { kind: numeric }
prediction: { score: score }
log: { path: "log/{day}.parquet" }
reference: { path: reference.parquet }
"""
# What to put in the place of what, the line of the file where the mistake then stands, and what the message must say.
MISTAKES = {
    "an unknown key": ("{ kind: numeric }", "{ kind: numeric, maximun: 3 }", 8, ["features.amount.maximun", "'maximum'"]),
    "a key that has a new name": (
        "id: id",
        "id: id\nperformance: { minimum_rows: 300 }",
        5,
        ["performance.minimum_rows", "'minimum_labelled_rows'"],
    ),
    "an unknown key at the top": ("id: id", "id: id\nfeature: {}", 5, ["feature: unknown key", "'features'", "labels"]),
    "a bad literal": ("kind: numeric", "kind: number", 8, ["features.amount.kind", "'numeric' or 'categorical'", "'number'"]),
    "a number out of range": (
        "id: id", "retrain: { drifted_share: 3 }\nid: id", 4, ["retrain.drifted_share", "less than or equal to 1", "found 3"],
    ),
    "a broken rule between fields": (
        "id: id", "quality: { missing_minor: 0.5, missing_severe: 0.1 }\nid: id", 4, ["quality", "missing_minor 0.5 must"],
    ),
    "no expectation's name": (
        "id: id", "quality: { expectations: [ { type: mean } ] }\nid: id", 4, ["expectations.0.type", "expect_", "'mean'"],
    ),
    "a wrong type": ("start_day: 2026-03-01", "start_day: soon", 6, ["start_day", "valid date", "'soon'"]),
    "a missing field": ("event_time: at\n", "", None, ["event_time", "required"]),
    "a key that stands twice": (
        "start_day: 2026-03-01", "start_day: 2026-03-01\ntime_zone: UTC\nid: other", 8, ["the key 'id'", "first on line 4"],
    ),
    "a feature that stands twice": (
        "  amount: { kind: numeric }", "  amount: { kind: numeric }\n  amount: { kind: categorical }", 9, ["'amount'", "line 8"],
    ),
    "a rule of the whole": ("id: id", "id: amount", None, ["each column has one role", "amount"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_monitor_file_line_field_and_what_is_allowed(project: Project, mistake: str) -> None:
    before, after, line, expected = MISTAKES[mistake]
    assert before in VALID
    reported = refusal(project(good=VALID.replace("example", "good"), bad=VALID.replace(before, after)))
    assert "monitor 'example'" in reported
    assert "monitor 'good'" not in reported
    assert f"defs/bad/defs.yaml:{'' if line is None else line}" in reported
    for part in expected:
        assert part in reported


def test_all_mistakes_of_a_file_are_reported_at_once(project: Project) -> None:
    reported = refusal(project(bad=VALID.replace("kind: numeric", "kind: number").replace("2026-03-01", "soon")))
    assert "features.amount.kind" in reported
    assert "start_day" in reported


def test_a_refused_monitor_leaves_the_others_alone_where_that_is_asked_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(wrong=example_content(name="wrong", time_zone="Mars"), right=example_content(name="right"))
    assert "unknown time zone 'Mars'" in refusal(folder)
    monkeypatch.setenv(LEAVE_OUT_REFUSED, "1")
    tree = ComponentTree.for_project(folder)
    assert [spec.name for spec in monitors_in(tree)] == ["right"]
    repository = tree.build_defs().get_repository_def()
    described = repository.asset_graph.get(dg.AssetKey(["wrong", "refused"])).description
    assert "defs.yaml" in str(described)
    assert "unknown time zone 'Mars'" in str(described)
    assert sorted(sensor.name for sensor in repository.sensor_defs) == SENSOR_NAMES


def test_what_is_valid_without_a_mistake_loads(project: Project) -> None:
    (spec,), _ = loaded(project(example=VALID))
    assert spec.features["amount"].kind == "numeric"


def test_tools_see_the_schema_of_the_spec() -> None:
    model = ModelMonitor.get_model_cls()
    assert model.model_json_schema() == MonitorSpec.model_json_schema()
    assert "drift" in model.model_json_schema()["properties"]


DAILY = {"inference_log", "daily_profile", "drift_scores", "labels", "performance"}


def test_every_asset_tells_group_description_kinds_table_schema_and_address(tmp_path: Path) -> None:
    defs = build_monitor(example_spec(tmp_path, owners=["team:fraud"]))
    specs = {spec.key.path[-1]: spec for spec in defs.resolve_all_asset_specs()}
    assert set(specs) == DAILY | {"reference_baseline", "model_candidate", "champion"}
    for name, spec in specs.items():
        assert spec.group_name == "example", name
        assert spec.description, name
        assert spec.kinds, name
        assert list(spec.owners) == ["team:fraud"], name
        assert "://" in spec.metadata["dagster/uri"], name
        assert spec.metadata["dagster/table_name"].startswith("warehouse.example."), name
        schema = spec.metadata["dagster/column_schema"]
        assert schema.columns, name
        assert all(column.description and column.type for column in schema.columns), name


def test_assets_say_that_their_tables_are_in_postgresql_without_saying_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONITORING_ASSETS_WAREHOUSE", "postgresql://monitor:secret@db.example/monitoring")
    defs = build_monitor(example_spec(tmp_path))
    scores = next(spec for spec in defs.resolve_all_asset_specs() if spec.key.path[-1] == "drift_scores")
    assert (scores.kinds, scores.metadata["dagster/uri"]) == ({"postgres"}, "postgresql:///#example.drift_scores")
    assert "secret" not in str(scores.metadata)


def test_daily_assets_are_filled_in_one_run_and_may_not_grow_stale(tmp_path: Path) -> None:
    defs = build_monitor(example_spec(tmp_path))
    graph = defs.resolve_asset_graph()
    for spec in defs.resolve_all_asset_specs():
        node = graph.get(spec.key)
        is_daily = spec.key.path[-1] in DAILY
        assert isinstance(node.partitions_def, dg.DailyPartitionsDefinition) == is_daily
        assert (node.backfill_policy == dg.BackfillPolicy.single_run()) == is_daily
        assert (spec.freshness_policy is not None) == is_daily


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"label": None, "labels": None}, {"labels", "performance", "model_candidate", "champion"}),
        ({"retrain": {"enabled": False}}, {"model_candidate", "champion"}),
    ],
    ids=["without labels", "with retraining off"],
)
def test_a_monitor_has_only_the_assets_it_can_fill(tmp_path: Path, change: dict[str, Any], gone: set[str]) -> None:
    defs = build_monitor(example_spec(tmp_path, **change))
    everything = DAILY | {"reference_baseline", "model_candidate", "champion"}
    assert {key.path[-1] for key in defs.resolve_all_asset_keys()} == everything - gone
    dg.Definitions.validate_loadable(defs)
