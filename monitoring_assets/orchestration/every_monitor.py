"""One sensor per kind for all monitors of a code location, whether it has one or a thousand.

A tick gives each monitor that has news its turn, and some others as well, in rotation; it stops after `TICK_SECONDS`, or when it
has asked for enough, and the next goes on from there. What a turn keeps (its cursor) is the monitor's own. A monitor whose turn
fails is logged, and harms no other.
What is done in a turn is in `arrivals.py`, `nightly.py` and `sensors.py`.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import dagster as dg

from monitoring_assets.errors import SettingUnusable, WarehouseLocked
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.orchestration.metadata import ASSET_TAG, MONITOR_METADATA
from monitoring_assets.orchestration.resources import MonitoringHome
from monitoring_assets.orchestration.shared_runs import shared_runs

CHECK_EVERY = "MONITORING_ASSETS_CHECK_EVERY_SECONDS"
# Dagster ends a tick after 60 s, so a warehouse that is held is left for the next.
PATIENCE_SECONDS, TICK_SECONDS = 20.0, 25.0
# Turns a tick for monitors without news, and seconds they may take: a few monitors each have a turn every tick.
OTHERS_A_TICK, OTHERS_SECONDS = 20, 0.5
# Requests a tick, after which it ends: for each of them Dagster's daemon stores some 16 planned events, one by one.
REQUESTS_A_TICK = 60
# Runs that changed so shortly before the last tick may come from a host whose clock is behind.
OVERLAP = timedelta(minutes=2)

IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class RunOfAssets:
    """A run and the assets it is about."""

    run: dg.DagsterRun
    assets: Set[dg.AssetKey]


@dataclass(frozen=True)
class Turn:
    """One monitor's part of a tick. `in_flight` are the runs under way about its assets, read before the turn; `is_changed` says
    that a run about them has changed since the last tick."""

    spec: MonitorSpec
    home: MonitoringHome
    instance: dg.DagsterInstance
    cursor: str | None = None
    in_flight: Sequence[RunOfAssets] = ()
    is_changed: bool = False


@dataclass
class Kept:
    """What a sensor keeps between ticks: when it last ticked, whose turn is next in the rotation, and each monitor's cursor."""

    ticked: float = 0.0
    next: str = ""
    cursors: dict[str, str] = field(default_factory=dict)


Answer = Callable[[Turn], dg.SensorResult]


def sensor_of_every_monitor(
    name: str,
    description: str,
    concerns: Callable[[MonitorSpec], bool],
    answer: Answer,
    has_news: Callable[[Turn], bool],
) -> dg.SensorDefinition:
    """The sensor. `answer` is one monitor's turn; `has_news` gives it one in this very tick, as does a run about its assets that
    has changed since the last."""

    @dg.sensor(
        name=name,
        asset_selection=dg.AssetSelection.tag(*next(iter(ASSET_TAG.items()))),
        minimum_interval_seconds=seconds_between_ticks(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
    )
    def of_every_monitor(context: dg.SensorEvaluationContext, monitoring_home: MonitoringHome) -> dg.SensorResult:
        repository = context.repository_def
        if repository is None:  # Dagster's own type; its daemon always gives one
            raise ValueError(f"{name} needs the code location it runs in: pass repository_def to build_sensor_context")
        now, kept = datetime.now(UTC), Kept(**json.loads(context.cursor or "{}"))
        specs = [spec for spec in monitors_of(repository) if not spec.paused and concerns(spec)]
        turns = _turns(context.instance, repository, monitoring_home.with_patience(PATIENCE_SECONDS), specs, kept)
        requests: list[dg.RunRequest] = []
        events: list[dg.AssetObservation | dg.AssetMaterialization | dg.AssetCheckEvaluation] = []
        notes: list[str] = []
        for turn, result in _answers(turns, kept, answer, has_news, context.log):
            if result.cursor is not None:
                kept.cursors[turn.spec.name] = result.cursor
            requests += result.run_requests or ()
            events += result.asset_events
            if result.skip_reason is not None:
                notes.append(f"{turn.spec.name}: {result.skip_reason.skip_message}")
        kept.ticked = now.timestamp()
        kept.cursors = {name: cursor for name, cursor in kept.cursors.items() if name in turns}
        run_config = _in_process(repository) if requests else {}
        runs = shared_runs(context.instance, requests, len(specs))
        return dg.SensorResult(
            run_requests=[run.with_replaced_attrs(run_config=run_config) for run in runs],
            skip_reason=None if runs else "; ".join(notes) or "no monitor has news",
            cursor=json.dumps(asdict(kept)),
            asset_events=events,
        )

    return of_every_monitor


def seconds_between_ticks() -> int:
    """What the environment says, 30 by default.

    Raises
    ------
    SettingUnusable
        When it is no whole number of at least 5.
    """
    given = os.environ.get(CHECK_EVERY, "30")
    if not given.isdecimal() or int(given) < 5:
        raise SettingUnusable(f"{CHECK_EVERY} is {given!r}; it must be a whole number of seconds, at least 5")
    return int(given)


def monitors_of(repository: dg.RepositoryDefinition) -> list[MonitorSpec]:
    """The monitors of a code location, from what their assets declare."""
    found = []
    for key, asset in repository.assets_defs_by_key.items():
        declared = asset.metadata_by_key.get(key, {}).get(MONITOR_METADATA)
        if isinstance(declared, dg.JsonMetadataValue):
            found.append(_spec(json.dumps(declared.value)))
    return found


@lru_cache(maxsize=10_000)
def _spec(declared: str) -> MonitorSpec:
    return MonitorSpec.model_validate_json(declared)


def _turns(
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition,
    home: MonitoringHome,
    specs: Sequence[MonitorSpec],
    kept: Kept,
) -> dict[str, Turn]:
    """Every monitor's turn, by name. The runs under way are read first: what ends meanwhile is then seen as still under way."""
    in_flight = _by_monitor(instance.get_runs(dg.RunsFilter(statuses=IN_FLIGHT)), repository)
    since = datetime.fromtimestamp(kept.ticked, UTC) - OVERLAP
    changed = _by_monitor(instance.get_runs(dg.RunsFilter(updated_after=since)), repository) if kept.ticked else {}
    turns = {}
    for spec in sorted(specs, key=lambda spec: spec.name):
        under_way = in_flight.get(spec.name, ())
        turns[spec.name] = Turn(
            spec, home, instance, kept.cursors.get(spec.name), under_way, bool(under_way) or spec.name in changed
        )
    return turns


def _by_monitor(runs: Sequence[dg.DagsterRun], repository: dg.RepositoryDefinition) -> Mapping[str, list[RunOfAssets]]:
    """Runs by the monitors whose assets they are about."""
    found: dict[str, list[RunOfAssets]] = {}
    for run in runs:
        assets = run.asset_selection
        if assets is None and repository.has_job(run.job_name):  # a job of the user's, run whole
            assets = frozenset(repository.get_job(run.job_name).asset_layer.selected_asset_keys)
        for name in {key.path[0] for key in assets or ()}:
            found.setdefault(name, []).append(RunOfAssets(run, assets or frozenset()))
    return found


def _answers(
    turns: Mapping[str, Turn], kept: Kept, answer: Answer, has_news: Callable[[Turn], bool], log: logging.Logger
) -> Iterator[tuple[Turn, dg.SensorResult]]:
    """This tick's turns in rotation, each with its answer. The next tick begins after the last of them."""
    until, others, seconds, asked = time.monotonic() + TICK_SECONDS, 0, 0.0, 0
    order = [name for name in turns if name >= kept.next] + [name for name in turns if name < kept.next]
    for place, name in enumerate(order):
        turn, begun = turns[name], time.monotonic()
        if begun > until or asked >= REQUESTS_A_TICK:
            kept.next = name
            return
        has_waited = True
        try:
            has_waited = not (turn.is_changed or has_news(turn))
            if has_waited and (others >= OTHERS_A_TICK or seconds > OTHERS_SECONDS):
                continue
            if has_waited:
                others += 1
                kept.next = order[(place + 1) % len(order)]
            result = answer(turn)
        except WarehouseLocked as error:  # one file serves many monitors, and the rest would wait for it as long
            kept.next = name
            yield turn, dg.SensorResult(skip_reason=str(error))
            return
        except Exception as error:
            log.exception(f"{name}: its turn failed, and will come again")
            result = dg.SensorResult(skip_reason=f"failed, {type(error).__name__}: {error}")
        if has_waited:
            seconds += time.monotonic() - begun
        asked += len(result.run_requests or ())
        yield turn, result


def _in_process(repository: dg.RepositoryDefinition) -> dict[str, object]:
    """The configuration of a run whose steps share its process, where the code location has Dagster's own executor: a day's steps
    are short, and a process for each would cost several times their work."""
    executor = repository.get_implicit_global_asset_job_def().executor_def
    return {"execution": {"config": {"in_process": {}}}} if executor.name == dg.multi_or_in_process_executor.name else {}
