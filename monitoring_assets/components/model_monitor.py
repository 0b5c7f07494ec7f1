"""`ModelMonitor`: one YAML file becomes one monitor. The only place where a spec meets Dagster's component system."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self, cast

import dagster as dg
from pydantic import BaseModel, RootModel

from monitoring_assets.components.written_monitor import WrittenMonitor
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


class Monitors(dg.Component):
    """Monitors of a code location, and the refusals of those whose YAML is wrong, by name."""

    def __init__(self, specs: Sequence[MonitorSpec], refused: Mapping[str, str]) -> None:
        self.specs, self.refused = specs, refused
        for refusal in refused.values():
            dg.get_dagster_logger().error(refusal)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        sensors = SENSORS if _first_of(context.component_tree) is self else ()
        refusals = [
            dg.AssetSpec(dg.AssetKey([name, "refused"]), group_name=name, description=refusal)
            for name, refusal in self.refused.items()
        ]
        return dg.Definitions.merge(build_monitors(self.specs, sensors=sensors), dg.Definitions(assets=refusals))


class ModelMonitor(Monitors):
    """Watches one tabular model in production: data quality, drift, performance, retraining, promotion."""

    def __init__(self, spec: MonitorSpec) -> None:
        super().__init__([spec], {})

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return MonitorAttributes

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        return dg.ComponentTypeSpec(description=cls.__doc__, tags=["monitoring", "machine-learning"])

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        specs, refused = specs_of([context.path], lambda _: _written(attributes, context), context.resolution_context)
        return cls(specs[0]) if specs else cast("Self", Monitors(specs, refused))


def specs_of(
    places: Iterable[Path], read: Callable[[Path], WrittenMonitor], context: dg.ResolutionContext
) -> tuple[list[MonitorSpec], dict[str, str]]:
    """The specs of the monitors in these places, and why others are refused, each by a name that an asset may have.

    Raises
    ------
    DagsterInvalidDefinitionError
        For the first that is refused, unless the environment says that such are left out.
    """
    specs, refused = [], {}
    for place in places:
        try:
            specs.append(read(place).spec(context))
        except dg.DagsterInvalidDefinitionError as refusal:
            if os.environ.get(LEAVE_OUT_REFUSED) != "1":
                raise
            refused[re.sub(r"\W", "_", place.stem)] = str(refusal)
    return specs, refused


def monitors_in(tree: dg.ComponentTree) -> list[MonitorSpec]:
    """The monitors a project declares, in the order of their folders and files, without those that are refused."""
    return [spec for found in tree.get_all_components(of_type=Monitors) for spec in found.specs]


def _written(attributes: BaseModel | None, context: dg.ComponentLoadContext) -> WrittenMonitor:
    """What the component's YAML says; in Python there is none."""
    tree = context.resolution_context.source_position_tree
    file = Path(tree.position.filename) if tree else None
    text = file.read_text(encoding="utf-8") if file is not None and file.is_file() else ""
    given = attributes.root if isinstance(attributes, MonitorAttributes) else {}
    return WrittenMonitor(given, context.path, repeated_keys(text), lambda: tree, below=("attributes",))


@cache
def _first_of(tree: dg.ComponentTree) -> Monitors | None:
    """The component that brings the sensors of all: Dagster copies what one defines, and refuses two sensors of a name."""
    return next((found for found in tree.get_all_components(of_type=Monitors) if found.specs), None)


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
    return build_monitors([spec], monitoring_home, sensors)


def build_monitors(
    specs: Iterable[MonitorSpec],
    monitoring_home: MonitoringHome = MONITORING_HOME,
    sensors: Sequence[dg.SensorDefinition] = SENSORS,
) -> dg.Definitions:
    """All Dagster definitions of several monitors, as of one."""
    assets: list[dg.AssetsDefinition] = []
    checks: list[dg.AssetChecksDefinition] = []
    for spec in specs:
        assets += [*build_daily_assets(spec), *build_model_assets(spec)]
        checks += build_asset_checks(spec)
    return dg.Definitions(assets=assets, asset_checks=checks, sensors=sensors, resources={"monitoring_home": monitoring_home})
