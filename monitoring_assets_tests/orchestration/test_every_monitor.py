"""Laws of a sensor that serves all monitors of a code location: each has its turn, and none harms another."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from monitoring_assets.components.model_monitor import build_monitor
from monitoring_assets.errors import SettingUnusable, WarehouseLocked
from monitoring_assets.orchestration import every_monitor
from monitoring_assets.orchestration.daily_assets import DAILY_ASSETS
from monitoring_assets.orchestration.every_monitor import (
    CHECK_EVERY,
    OTHERS_A_TICK,
    Turn,
    monitors_of,
    seconds_between_ticks,
    sensor_of_every_monitor,
)
from monitoring_assets.orchestration.resources import MONITORING_HOME
from monitoring_assets_tests.example_monitor import example_spec

MANY = 3 * OTHERS_A_TICK


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    """Sixty monitors, one of them paused."""
    specs = [example_spec(Path("data"), name=f"m{number:02}", paused=number == 7) for number in range(MANY)]
    return dg.Definitions.merge(*(build_monitor(spec) for spec in specs)).get_repository_def()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


class Ticks:
    """A sensor whose answers a test gives, ticked with its cursor kept."""

    def __init__(
        self,
        repository: dg.RepositoryDefinition,
        instance: dg.DagsterInstance,
        answer: Callable[[Turn], dg.SensorResult],
        has_news: Callable[[Turn], bool] = lambda turn: False,
    ) -> None:
        self.repository, self.instance = repository, instance
        self.turns: list[str] = []

        def noted(turn: Turn) -> dg.SensorResult:
            self.turns.append(turn.spec.name)
            return answer(turn)

        self.sensor = sensor_of_every_monitor("of_a_test", "", lambda spec: True, noted, has_news)
        self.cursor: str | None = None

    def tick(self) -> tuple[list[str], str, list[dg.RunRequest]]:
        """Whose turn it was, what the tick said and asked for."""
        self.turns.clear()
        resources = {"monitoring_home": MONITORING_HOME}
        with dg.build_sensor_context(self.instance, self.cursor, repository_def=self.repository, resources=resources) as context:
            data = self.sensor.evaluate_tick(context)
        self.cursor = data.cursor
        return list(self.turns), data.skip_message or "", list(data.run_requests or ())


def nothing(turn: Turn) -> dg.SensorResult:
    return dg.SensorResult(skip_reason="nothing")


def test_a_monitor_is_found_as_it_was_declared() -> None:
    settings = {
        "description": "Late flights", "owners": ["team:air"], "segments": ["country"], "sampling_weight": "weight",
        "drift": {"windows_days": [1, 3]}, "alerts": [{"url_env": "ALERTS"}], "retain_days": 90,
        "retrain": {"drift_window_days": 3, "cooldown_days": 2},
    }  # fmt: skip
    spec = example_spec(Path("data"), **settings)
    (found,) = monitors_of(build_monitor(spec).get_repository_def())
    assert found == spec


def test_few_monitors_all_have_a_turn_and_many_have_theirs_within_a_few_ticks(
    repository: dg.RepositoryDefinition, instance: dg.DagsterInstance
) -> None:
    ticks = Ticks(repository, instance, nothing)
    turns = [ticks.tick()[0] for _ in range(3)]
    assert [len(of_tick) for of_tick in turns] == [OTHERS_A_TICK] * 3
    assert {name for of_tick in turns for name in of_tick} == {f"m{number:02}" for number in range(MANY)} - {"m07"}


def test_news_are_answered_in_the_same_tick_whoever_else_has_a_turn(
    repository: dg.RepositoryDefinition, instance: dg.DagsterInstance
) -> None:
    ticks = Ticks(repository, instance, nothing, lambda turn: turn.spec.name >= "m40")
    assert set(ticks.tick()[0]) >= {f"m{number}" for number in range(40, MANY)}


def test_a_run_about_a_monitor_gives_it_a_turn(repository: dg.RepositoryDefinition, instance: dg.DagsterInstance) -> None:
    seen: dict[str, list[str]] = {}

    def answer(turn: Turn) -> dg.SensorResult:
        seen[turn.spec.name] = [found.run.run_id for found in turn.in_flight]
        return nothing(turn)

    ticks = Ticks(repository, instance, answer)
    ticks.tick()
    job, key = repository.get_implicit_global_asset_job_def(), dg.AssetKey(["m55", "inference_log"])
    run = instance.create_run_for_job(job, asset_selection=frozenset([key]), status=dg.DagsterRunStatus.STARTED)
    assert "m55" in ticks.tick()[0]
    assert seen["m55"] == [run.run_id]
    instance.report_run_canceled(run)
    assert "m55" in ticks.tick()[0]
    assert seen["m55"] == []


def test_a_job_of_the_users_own_over_a_monitor_s_assets_is_about_it(instance: dg.DagsterInstance) -> None:
    spec = example_spec(Path("data"))
    mine = dg.define_asset_job("mine", dg.AssetSelection.assets(*([spec.name, name] for name in DAILY_ASSETS)))
    definitions = dg.Definitions.merge(build_monitor(spec), dg.Definitions(jobs=[mine]))
    run = instance.create_run_for_job(definitions.resolve_job_def("mine"), status=dg.DagsterRunStatus.STARTED)
    seen: list[str] = []

    def answer(turn: Turn) -> dg.SensorResult:
        seen.extend(found.run.run_id for found in turn.in_flight)
        return nothing(turn)

    Ticks(definitions.get_repository_def(), instance, answer).tick()
    assert seen == [run.run_id]


def test_a_monitor_whose_turn_fails_harms_no_other(repository: dg.RepositoryDefinition, instance: dg.DagsterInstance) -> None:
    def answer(turn: Turn) -> dg.SensorResult:
        if turn.spec.name == "m03":
            raise ZeroDivisionError("m03 divides by zero")
        return dg.SensorResult(skip_reason="fine", cursor="seen")

    ticks = Ticks(repository, instance, answer)
    turns, message, _ = ticks.tick()
    assert len(turns) == OTHERS_A_TICK
    assert "m03: failed, ZeroDivisionError: m03 divides by zero" in message
    kept = json.loads(ticks.cursor or "")["cursors"]
    assert set(kept) == set(turns) - {"m03"}


def test_a_warehouse_that_is_held_ends_the_tick_and_the_next_begins_there(
    repository: dg.RepositoryDefinition, instance: dg.DagsterInstance
) -> None:
    held = {"m04"}

    def answer(turn: Turn) -> dg.SensorResult:
        if turn.spec.name in held:
            raise WarehouseLocked("held")
        return nothing(turn)

    ticks = Ticks(repository, instance, answer)
    assert ticks.tick()[0] == ["m00", "m01", "m02", "m03", "m04"]
    held.clear()
    assert ticks.tick()[0][0] == "m04"


def test_a_tick_ends_in_time_and_the_next_goes_on(
    repository: dg.RepositoryDefinition, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(every_monitor, "TICK_SECONDS", 0.2)

    def slow(turn: Turn) -> dg.SensorResult:
        time.sleep(0.15)
        return nothing(turn)

    ticks = Ticks(repository, instance, slow, lambda turn: True)
    first, second = ticks.tick()[0], ticks.tick()[0]
    assert first == ["m00", "m01"]
    assert second[0] == "m02"


def test_a_tick_asks_for_so_much_and_the_next_goes_on(
    repository: dg.RepositoryDefinition, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(every_monitor, "REQUESTS_A_TICK", 20)

    def answer(turn: Turn) -> dg.SensorResult:
        key = dg.AssetKey([turn.spec.name, "drift_scores"])
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=turn.spec.name, asset_selection=[key])])

    ticks = Ticks(repository, instance, answer, lambda turn: True)
    turns = [ticks.tick()[0] for _ in range(3)]
    assert [len(of_tick) for of_tick in turns] == [20] * 3
    assert {name for of_tick in turns for name in of_tick} == {f"m{number:02}" for number in range(MANY)} - {"m07"}


def test_runs_of_several_monitors_are_asked_for_at_once_each_in_one_process(
    repository: dg.RepositoryDefinition, instance: dg.DagsterInstance
) -> None:
    def answer(turn: Turn) -> dg.SensorResult:
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=turn.spec.name, asset_selection=[dg.AssetKey([turn.spec.name, "drift_scores"])])]
        )

    _, _, requests = Ticks(repository, instance, answer, lambda turn: turn.spec.name == "m30").tick()
    assert "m30" in {request.run_key for request in requests}
    assert len(requests) == OTHERS_A_TICK + 1
    assert all(request.run_config == {"execution": {"config": {"in_process": {}}}} for request in requests)


def test_how_often_the_sensors_tick_is_the_environments_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seconds_between_ticks() == 30
    monkeypatch.setenv(CHECK_EVERY, "5")
    assert seconds_between_ticks() == 5
    for wrong in ("4", "soon", ""):
        monkeypatch.setenv(CHECK_EVERY, wrong)
        with pytest.raises(SettingUnusable, match=f"{CHECK_EVERY} is '{wrong}'; it must be a whole number"):
            seconds_between_ticks()
