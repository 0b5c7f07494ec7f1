"""The sensors that decide and alert. They read a monitor's events, ask a pure policy, keep its decision, and request at most one
run of it a tick."""

import json
from datetime import date

import dagster as dg

from monitoring_assets.errors import BaselineMissing
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.orchestration.arrivals import REOPENED_TAG, build_arrival_sensor
from monitoring_assets.orchestration.every_monitor import Turn, sensor_of_every_monitor
from monitoring_assets.orchestration.model_assets import DECISION_TAG, RETRAIN_ASSETS, can_retrain
from monitoring_assets.orchestration.nightly import build_nightly_sensor
from monitoring_assets.orchestration.resources import MonitoringHome
from monitoring_assets.retraining.policy import Decision, awaits_quality, decide

WATCHED = ("drift_scores", "performance", "reference_baseline")
# What an asset's verdict is about.
SUBJECTS = {"drift_scores": "drift", "performance": "performance"}
HISTORY_TAGS = {"dagster/backfill", REOPENED_TAG}
# In the alert sensor's cursor: how many routes have not received what is due. Unknown, the warehouse is asked.
UNSENT = "unsent"
# Events read a tick; the rest waits for the next. It is what Dagster returns at once.
PAGE = 1000


def build_retrain_sensor() -> dg.SensorDefinition:
    """`retrain_on_drift`: folds all new events of a monitor into one decision.

    A monitor's cursor is the newest event seen per asset. A decision is stored before its run is requested, and the run's key is
    the decision's id: killed in between, the next tick asks again for the same run and Dagster starts it once. Evidence whose run
    has started is never asked about again, with whatever cursor.
    """
    return sensor_of_every_monitor(
        "retrain_on_drift",
        "Asks the retrain policy whenever drift was scored or performance measured, and keeps every decision.",
        can_retrain,
        _retrain_due,
        lambda turn: turn.cursor is None,
    )


def build_alert_sensor() -> dg.SensorDefinition:
    """`alert_on_severity`: sends each route the newest day's findings on drift and performance, once. Backfills are history.

    What a route did not receive is sent again by every later tick, until it is delivered.
    """
    return sensor_of_every_monitor(
        "alert_on_severity",
        "Sends the newest day's drift and performance findings to the monitor's alert routes, each once.",
        lambda spec: bool(spec.alerts),
        _alerts_due,
        lambda turn: bool(json.loads(turn.cursor or "{}").get(UNSENT, True)),
    )


def _retrain_due(turn: Turn) -> dg.SensorResult:
    """One monitor's turn: the decision on all that is new."""
    from monitoring_assets.retraining.decisions import find_decision, gather_evidence, store_decision

    spec, instance = turn.spec, turn.instance
    if not turn.home.has_warehouse(spec):
        remedy = f"Materialise the asset {spec.name}/reference_baseline"
        return dg.SensorResult(skip_reason=f"{spec.name} has no results yet. {remedy}", cursor=turn.cursor or "{}")
    events, cursor = _new_events(instance, spec, json.loads(turn.cursor or "{}"))
    if not events:
        return dg.SensorResult(
            skip_reason="no drift was scored and no performance measured since the last tick", cursor=json.dumps(cursor)
        )
    in_flight = _retrains_in_flight(turn)
    try:
        with turn.home.connect(spec) as connection:
            evidence = gather_evidence(
                connection, spec, is_in_flight=bool(in_flight), is_backfill=_all_from_backfills(instance, events)
            )
            earlier = find_decision(connection, spec, evidence.digest)
            if earlier is None:
                decision = decide(spec.retrain, evidence)
                store_decision(connection, spec, decision)
            else:
                is_due = earlier[0] and _is_still_due(instance, evidence.digest, in_flight)
                decision = Decision(evidence.digest, evidence.day, is_due, earlier[1], evidence)
    except BaselineMissing as error:
        return dg.SensorResult(skip_reason=str(error), cursor=json.dumps(cursor))
    if awaits_quality(spec.retrain, evidence):
        # The checks may come after the scores and bring no event of their own: the cursor stays, the next tick looks again.
        return _answer(spec, decision, len(events), turn.cursor, is_new=earlier is None)
    return _answer(spec, decision, len(events), json.dumps(cursor), is_new=earlier is None)


def _alerts_due(turn: Turn) -> dg.SensorResult:
    """One monitor's turn: what its routes have not received is sent."""
    seen: dict[str, int] = json.loads(turn.cursor or "{}")
    if not turn.home.has_warehouse(turn.spec):
        return dg.SensorResult(skip_reason="nothing was judged yet", cursor=json.dumps(seen | {UNSENT: 0}))
    events, cursor = _new_events(turn.instance, turn.spec, seen)
    newest = {} if _all_from_backfills(turn.instance, events) else _newest_days(events)
    if not newest and not seen.get(UNSENT, True):
        return dg.SensorResult(skip_reason="no new day was judged, except by a backfill", cursor=json.dumps(cursor))
    try:
        outcomes, failures = _send_alerts(turn.home, turn.spec, newest)
    except BaselineMissing as error:
        return dg.SensorResult(skip_reason=str(error), cursor=turn.cursor)
    return dg.SensorResult(
        skip_reason="; ".join(outcomes) or "no finding is severe enough for a route",
        cursor=json.dumps(cursor | {UNSENT: failures}),
    )


def _send_alerts(home: MonitoringHome, spec: MonitorSpec, newest: dict[str, date]) -> tuple[list[str], int]:
    """Send what is due. Returns one line per route that had something, and how many of them failed."""
    from monitoring_assets.alerting.verdict_alerts import alerts_of, send, store_outcome, unsent

    with home.connect(spec) as connection:
        alerts = [alert for subject, day in newest.items() for alert in alerts_of(connection, spec, subject, day)]
        due = [(route, unsent(connection, spec, route, alerts)) for route in spec.alerts]
    outcomes, failures = [], 0
    for route, mine in due:
        if mine:
            failure = send(spec, route, mine)
            with home.connect(spec) as connection:
                store_outcome(connection, spec, route, mine, failure)
            outcomes.append(f"{route.url_env}: {len(mine)} alert(s) {f'not delivered, {failure}' if failure else 'delivered'}")
            failures += failure is not None
    return outcomes, failures


def _newest_days(events: list[dg.EventLogRecord]) -> dict[str, date]:
    """Per subject the newest day among new materialisations."""
    newest: dict[str, date] = {}
    for event in events:
        subject = SUBJECTS.get(event.asset_key.path[-1]) if event.asset_key else None
        if subject and event.partition_key:
            day = date.fromisoformat(event.partition_key)
            newest[subject] = max(day, newest.get(subject, day))
    return newest


def _new_events(
    instance: dg.DagsterInstance, spec: MonitorSpec, seen: dict[str, int]
) -> tuple[list[dg.EventLogRecord], dict[str, int]]:
    """Materialisations since the cursor, and the cursor after them."""
    events: list[dg.EventLogRecord] = []
    cursor = dict(seen)
    for name in WATCHED:
        found = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey([spec.name, name]), after_storage_id=seen.get(name)),
            limit=PAGE,
            ascending=True,
        ).records
        events += found
        if found:
            cursor[name] = found[-1].storage_id
    return events, cursor


def _retrains_in_flight(turn: Turn) -> list[dg.DagsterRun]:
    """Runs under way that make a candidate, whoever asked for them."""
    candidate = dg.AssetKey([turn.spec.name, "model_candidate"])
    return [found.run for found in turn.in_flight if candidate in found.assets]


def _is_still_due(instance: dg.DagsterInstance, decision_id: str, in_flight: list[dg.DagsterRun]) -> bool:
    """Whether a decision to retrain was stored, but a crash came before its run started."""
    own = instance.get_runs(dg.RunsFilter(tags={DECISION_TAG: decision_id}))
    others = [run for run in in_flight if run.tags.get(DECISION_TAG) != decision_id]
    return not others and all(run.status == dg.DagsterRunStatus.NOT_STARTED for run in own)


def _all_from_backfills(instance: dg.DagsterInstance, events: list[dg.EventLogRecord]) -> bool:
    """Whether nothing but backfills and late files of old days brought these events: history, which asks for no retrain."""
    runs = [instance.get_run_by_id(run_id) for run_id in {event.run_id for event in events}]
    return all(run is not None and not HISTORY_TAGS.isdisjoint(run.tags) for run in runs)


def _answer(spec: MonitorSpec, decision: Decision, events: int, cursor: str | None, *, is_new: bool) -> dg.SensorResult:
    answer = f"{decision.day}: {decision.reason} ({events} new events{'' if is_new else ', decided before'})"
    observation = dg.AssetObservation(
        dg.AssetKey([spec.name, "model_candidate"]),
        description=answer,
        metadata={
            "retrain": decision.retrain,
            "reason": decision.reason,
            "decision_id": decision.decision_id,
            "evidence": dg.MetadataValue.json(json.loads(decision.evidence.as_json())),
        },
    )
    if not decision.retrain:
        news = [observation] if is_new else []
        return dg.SensorResult(skip_reason=answer, cursor=cursor, asset_events=news)
    request = dg.RunRequest(
        run_key=decision.decision_id,
        asset_selection=[dg.AssetKey([spec.name, name]) for name in RETRAIN_ASSETS],
        tags={DECISION_TAG: decision.decision_id, "monitoring_assets/evidence_day": str(decision.day)},
    )
    return dg.SensorResult(run_requests=[request], cursor=cursor, asset_events=[observation])


# Shared by every monitor: Dagster merges definitions that hold the very same sensor.
SENSORS = [build_arrival_sensor(), build_nightly_sensor(), build_retrain_sensor(), build_alert_sensor()]
