"""`ModelMonitor`: one YAML file becomes one monitor. The only place where a spec meets Dagster's component system."""

import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Self, cast, get_args

import dagster as dg
from pydantic import BaseModel, RootModel, ValidationError

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.monitor_spec.yaml_keys import repeated_keys
from monitoring_assets.orchestration.asset_checks import build_asset_checks
from monitoring_assets.orchestration.daily_assets import build_daily_assets
from monitoring_assets.orchestration.model_assets import build_model_assets
from monitoring_assets.orchestration.resources import MONITORING_HOME, MonitoringHome
from monitoring_assets.orchestration.sensors import SENSORS

# Set to 1, a monitor whose YAML is refused does not keep the others of its code location from loading.
LEAVE_OUT_REFUSED = "MONITORING_ASSETS_LEAVE_OUT_REFUSED"


class MonitorAttributes(RootModel[dict[str, Any]]):
    """The YAML as written: its templates are resolved before `MonitorSpec` judges it, whose JSON schema it shows to tools."""

    @classmethod
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        return MonitorSpec.model_json_schema(*arguments, **options)


class ModelMonitor(dg.Component):
    """Watches one tabular model in production: data quality, drift, performance, retraining, promotion."""

    def __init__(self, spec: MonitorSpec) -> None:
        self.spec = spec

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return MonitorAttributes

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        return dg.ComponentTypeSpec(description=cls.__doc__, tags=["monitoring", "machine-learning"])

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        try:
            return cls(_spec_of(attributes, context))
        except dg.DagsterInvalidDefinitionError as refusal:
            if os.environ.get(LEAVE_OUT_REFUSED) != "1":
                raise
            return cast("Self", RefusedMonitor(context.path, str(refusal)))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return build_monitor(self.spec, sensors=SENSORS if _first_of(context.component_tree) is self else ())


class RefusedMonitor(ModelMonitor):
    """A monitor whose YAML is refused, where the others are to load all the same: in the UI it is one asset that says why."""

    def __init__(self, folder: Path, refusal: str) -> None:
        self.name, self.refusal = re.sub(r"\W", "_", folder.name), refusal
        dg.get_dagster_logger().error(refusal)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        key = dg.AssetKey([self.name, "refused"])
        return dg.Definitions(assets=[dg.AssetSpec(key, group_name=self.name, description=self.refusal)])


def monitors_in(tree: dg.ComponentTree) -> list[ModelMonitor]:
    """The monitors a project declares, in the order of their folders, without those that are refused."""
    return [found for found in tree.get_all_components(of_type=ModelMonitor) if not isinstance(found, RefusedMonitor)]


def _spec_of(attributes: BaseModel | None, context: dg.ComponentLoadContext) -> MonitorSpec:
    given = attributes.root if isinstance(attributes, MonitorAttributes) else {}
    repeated = _repeated(context)
    if repeated:
        raise _refusal(given, context, repeated)
    unset = sorted({name for text in _texts(given) for name in _variables(text) if name not in os.environ})
    if unset:
        raise _refusal(given, context, [f"the environment variable {name} is not set, and the YAML uses it" for name in unset])
    resolved: Any = context.resolution_context.resolve_value(given)  # templates such as {{ env.LOG_FOLDER }}
    try:
        return MonitorSpec.model_validate(resolved)
    except ValidationError as error:
        raise _refusal(given, context, [_explained(mistake, context) for mistake in error.errors()]) from None


@cache
def _first_of(tree: dg.ComponentTree) -> ModelMonitor | None:
    """The monitor that brings the sensors of all: Dagster copies what a component defines, and refuses two sensors of a name."""
    return next(iter(monitors_in(tree)), None)


def build_monitor(
    spec: MonitorSpec,
    monitoring_home: MonitoringHome = MONITORING_HOME,
    sensors: Sequence[dg.SensorDefinition] = SENSORS,
) -> dg.Definitions:
    """All Dagster definitions of one monitor, for YAML and for Python alike.

    `sensors` serve all monitors of a code location. Beside monitors declared in YAML, which bring them already, pass none.

    Examples
    --------
    >>> spec = MonitorSpec.model_validate({
    ...     "name": "fraud", "id": "transaction_id", "event_time": "at", "start_day": "2026-01-01",
    ...     "features": {"amount": {"kind": "numeric"}}, "prediction": {"score": "score"},
    ...     "log": {"path": "/logs/fraud/{day}.parquet"}, "reference": {"path": "/logs/reference.parquet"},
    ... })
    >>> sorted(key.to_user_string() for key in build_monitor(spec).resolve_all_asset_keys())
    ['fraud/daily_profile', 'fraud/drift_scores', 'fraud/inference_log', 'fraud/reference_baseline']
    """
    return dg.Definitions(
        assets=[*build_daily_assets(spec), *build_model_assets(spec)],
        asset_checks=build_asset_checks(spec),
        sensors=sensors,
        resources={"monitoring_home": monitoring_home},
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(part)


def _variables(text: str) -> list[str]:
    """Environment variables a template needs: one that is not set would become the text 'None'."""
    return [name for template in re.findall(r"{{(.*?)}}", text) for name in re.findall(r"\benv\.(\w+)", template)]


def _repeated(context: dg.ComponentLoadContext) -> list[str]:
    """Keys that the file holds twice, of which Dagster's parser keeps the last."""
    tree = context.resolution_context.source_position_tree
    file = Path(tree.position.filename) if tree else None
    if file is None or not file.is_file():
        return []
    return [f"{file}:{found.line}, {found}" for found in repeated_keys(file.read_text(encoding="utf-8"))]


def _refusal(given: dict[str, Any], context: dg.ComponentLoadContext, mistakes: list[str]) -> dg.DagsterInvalidDefinitionError:
    listed = "".join(f"\n  {mistake}" for mistake in mistakes)
    return dg.DagsterInvalidDefinitionError(f"monitor {given.get('name')!r} in {context.path} is refused:{listed}")


def _explained(mistake: Any, context: dg.ComponentLoadContext) -> str:
    """One mistake: where it stands, the field, what is allowed, what was found."""
    path = list(mistake["loc"])
    field = ".".join(map(str, path)) or "the monitor"
    said = str(mistake["msg"]).removeprefix("Value error, ")
    if mistake["type"] == "extra_forbidden":
        allowed = _keys_at(path[:-1])
        close = get_close_matches(str(path[-1]), allowed, n=1)
        said = f"unknown key{f' (did you mean {close[0]!r}?)' if close else ''}, allowed: {', '.join(sorted(allowed))}"
    elif mistake["type"] != "missing" and not isinstance(mistake["input"], dict):
        said += f", found {mistake['input']!r}"
    tree = context.resolution_context.source_position_tree
    if tree is None:
        return f"{field}: {said}"
    position, _ = tree.lookup_closest_and_path(["attributes", *path], None)
    return f"{position.filename}:{position.start.line}, {field}: {said}"


def _keys_at(path: list[str | int]) -> list[str]:
    """The keys the spec knows at a place. Keys of mappings and places in lists lead no deeper."""
    model: type[BaseModel] = MonitorSpec
    for part in path:
        field = next((field for name, field in model.model_fields.items() if part in (name, field.alias)), None)
        model = next(_models_in(field.annotation), model) if field else model
    return [field.alias or name for name, field in model.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
