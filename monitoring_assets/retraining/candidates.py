"""A retrain from end to end: which rows, the candidate, the gate, the promotion. Each step reads, works with the warehouse
closed, and writes.

How a model is trained is in `training.py`, how it is judged in `gate.py`, where it is kept in `registry.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import duckdb
import pandas as pd

from monitoring_assets.baselines.building import build_candidate_baseline
from monitoring_assets.baselines.in_force import Baseline, discard_candidate_baseline, put_in_force
from monitoring_assets.baselines.reference import REFERENCE_ROWS, stage_reference
from monitoring_assets.engines.day_rows import labelled_relations
from monitoring_assets.errors import ChampionMissing, NotEnoughLabels
from monitoring_assets.ingestion.label_maturity import days_with_mature_labels, why_immature
from monitoring_assets.ingestion.labels import labelled_log
from monitoring_assets.monitor_spec import MonitorSpec, days_between
from monitoring_assets.performance.labelled_rows import realised_metrics
from monitoring_assets.performance.metrics import PRIMARY_METRIC
from monitoring_assets.retraining.decisions import find_verdict, store_verdict
from monitoring_assets.retraining.gate import Verdict, gate_verdict
from monitoring_assets.retraining.lost_models import require_registry_of_the_champion
from monitoring_assets.retraining.registry import CHALLENGER, PREVIOUS, RegisteredVersion, Registry
from monitoring_assets.retraining.training import Candidate, load_trainer, predict, train_candidate
from monitoring_assets.row_storage.kept_rows import read_rows_of
from monitoring_assets.sql_text import days_accepted, on_days
from monitoring_assets.warehouse import AnyWarehouse, Scope, include_rows, newest_day, quoted, transaction
from monitoring_assets.warehouse_reads import accepted_days, labelled_days


@dataclass(frozen=True)
class TrainingPlan:
    """The days a candidate is trained on, and the newest labelled days kept back for the gate (None: nothing to gate on)."""

    first_day: date
    last_day: date
    gate_first_day: date | None
    gate_last_day: date | None


@dataclass(frozen=True)
class Outcome:
    """The result of a retrain. `baseline` is the one put in force, None after a refusal."""

    version: str
    verdict: Verdict
    baseline: Baseline | None


def train(
    warehouse: AnyWarehouse, registry: Registry, spec: MonitorSpec, decision_id: str, *, starts_over: bool = False
) -> tuple[str, Candidate, TrainingPlan]:
    """Train a candidate on the newest labelled days before the gate's, and register it as the challenger.

    Raises
    ------
    NotEnoughLabels
        When there are too few labelled rows.
    ChampionMissing
        When the registry has lost the models the warehouse knows, unless the caller `starts_over` without them.
    """
    with warehouse.connect(_without_rows(spec)) as connection:
        require_registry_of_the_champion(connection, registry, spec, starts_over=starts_over)
        plan = plan_training(connection, spec)
        frame = labelled_features(connection, spec, plan.first_day, plan.last_day)
    features = frame[list(spec.features)]
    candidate = train_candidate(
        load_trainer(spec.trainer),
        features,
        frame["__label"],
        frame["day"],
        spec.task,
        minimum_rows=spec.retrain.minimum_training_rows,
        weights=frame["__weight"] if spec.sampling_weight else None,
    )
    version = registry.register(
        spec.name,
        candidate.model,
        features.head(20),
        metrics={f"cross_validated_{candidate.metric}": candidate.metric_value, "training_rows": candidate.row_count},
        params={
            "trainer": spec.trainer,
            "features": ",".join(spec.features),
            "training_days": spec.retrain.training_days,
            "sampling_weights": weights_used(spec, candidate),
        },
        tags={
            "decision_id": decision_id,
            "data_digest": candidate.data_digest,
            "first_day": str(candidate.first_day),
            "last_day": str(candidate.last_day),
            "gate_first_day": str(plan.gate_first_day or ""),
            "gate_last_day": str(plan.gate_last_day or ""),
        },
    )
    rows = frame.loc[candidate.out_of_fold.index, ["day", *spec.segments, "__weight"]]
    predictions = rows.assign(**{spec.prediction.column: candidate.out_of_fold})
    if spec.sampling_weight:
        predictions = predictions.rename(columns={"__weight": spec.sampling_weight})
    first, last = predictions["day"].min(), predictions["day"].max()
    with warehouse.connect(Scope(spec.name, rows=tuple(days_between(first, last)), since=first, until=last)) as connection:
        build_candidate_baseline(connection, spec, predictions, version, candidate.metric, candidate.metric_value)
    return version, candidate, plan


def weights_used(spec: MonitorSpec, candidate: Candidate) -> str:
    """How the trainer used the weights of a sampled log, in words."""
    if not spec.sampling_weight:
        return "none: every row is logged"
    return spec.sampling_weight if candidate.is_weighted else f"not used: {spec.trainer} has no parameter sample_weight"


def gate(warehouse: AnyWarehouse, registry: Registry, spec: MonitorSpec, decision_id: str) -> Outcome:
    """Judge the challenger against the model in use, promote or refuse it, and keep the verdict.

    Safe to repeat: killed anywhere, the next call ends with the same aliases, baseline and verdict.

    Raises
    ------
    ChampionMissing
        When there is no challenger.
    """
    challenger = registry.find(spec.name, CHALLENGER)
    if challenger is None:
        raise ChampionMissing(f"{spec.name} has no challenger to judge. Materialise {spec.name}/model_candidate first.")
    with warehouse.connect(_without_rows(spec)) as connection:
        require_registry_of_the_champion(connection, registry, spec)
    champion = registry.champion(spec.name)
    if champion is not None and champion.version == challenger.version:  # killed half-way through its promotion
        champion = registry.find(spec.name, PREVIOUS)
    verdict = _gate_verdict(warehouse, registry, spec, challenger, champion)
    with warehouse.connect(_without_rows(spec)) as connection:
        earlier = find_verdict(connection, spec, challenger.version)
    if earlier is not None:  # killed after it was decided: labels that came since do not decide again
        verdict = replace(verdict, promoted=earlier[0], reason=earlier[1])
    evidence = {"gate_rows": float(verdict.rows), f"gate_{verdict.metric}_candidate": verdict.candidate_metric}
    if verdict.champion_metric is not None:
        evidence[f"gate_{verdict.metric}_champion"] = verdict.champion_metric
    said = {"verdict": "promoted" if verdict.promoted else "refused", "verdict_reason": verdict.reason}
    finite = {name: value for name, value in evidence.items() if math.isfinite(value)}
    registry.log_gate(spec.name, challenger.version, finite, said)
    baseline = None
    with warehouse.connect(_without_rows(spec)) as connection:
        # A candidate is judged for the decision it was trained for, whichever run gets to it.
        decided = challenger.tags.get("decision_id", decision_id)
        if verdict.promoted:
            with transaction(connection):
                baseline = put_in_force(connection, spec, challenger.version, _next_day(connection, spec))
                store_verdict(connection, spec, decided, challenger.version, verdict)
        else:
            store_verdict(connection, spec, decided, challenger.version, verdict)
            discard_candidate_baseline(connection, spec, challenger.version)
    if verdict.promoted:
        registry.promote(spec.name, challenger.version)
    else:
        registry.refuse(spec.name, challenger.version)
    return Outcome(challenger.version, verdict, baseline)


def plan_training(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> TrainingPlan:
    """The gate gets the newest `gate_days` days whose labels are mature, the candidate the `training_days` before them.

    Before the log has such days, the candidate is trained on the whole reference and meets no gate.
    """
    newest = _newest_labelled_day(connection, spec)
    if newest is None:
        _need_a_labelled_file(connection, spec)
        reference = stage_reference(connection, spec)
        if not reference.has_label:
            raise NotEnoughLabels(
                f"{spec.name} has no labelled day, and its reference has no label column "
                f"{spec.label.column if spec.label else '(the monitor declares no label)'!r}: nothing to train on"
            )
        return TrainingPlan(reference.first_day, reference.last_day, None, None)
    gate_first = newest - timedelta(days=spec.retrain.gate_days - 1)
    return TrainingPlan(
        gate_first - timedelta(days=spec.retrain.training_days), gate_first - timedelta(days=1), gate_first, newest
    )


def _without_rows(spec: MonitorSpec) -> Scope:
    """What a step of a retrain reads; it has rows read once it knows of which days."""
    return Scope(spec.name, rows=()) if spec.rows is None else Scope(spec.name)


def _read_days(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> None:
    """Have the rows of these days, wherever rows are."""
    read_rows_of(connection, days)
    include_rows(connection, spec, days)


def _newest_labelled_day(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> date | None:
    """The newest day whose labels are mature and of which a stored prediction has one."""
    logged = set(accepted_days(connection, spec))
    for day in reversed(days_with_mature_labels(connection, spec)):
        if day not in logged:
            continue
        if spec.is_in_lake:  # a label is accepted there if its prediction is known
            return day
        _read_days(connection, spec, [day])
        known = f"SELECT 1 FROM ({labelled_log(spec, ['p.day AS __day'])}) WHERE __label IS NOT NULL AND day = ? LIMIT 1"
        if connection.execute(known, [day]).fetchall():
            return day
    return None


def _need_a_labelled_file(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> None:
    """A reference that is a range of the log has the log's labels, and those are not mature."""
    labelled = labelled_days(connection, spec)
    if spec.reference.path is None and spec.label is not None and labelled:
        raise NotEnoughLabels(
            f"{spec.name} has no day whose labels are mature: the first labelled day is {labelled[0]}, and "
            f"{why_immature(spec.label, labelled[0])}"
        )


def labelled_features(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, first: date, last: date) -> pd.DataFrame:
    """Labelled rows of the days whose labels are mature, in order: `day`, the features, `__label`, `__weight` (how many
    rows each stands for).

    Days before the log come from the reference.
    """
    _read_days(connection, spec, days_between(first, last))
    days = [day for day in days_with_mature_labels(connection, spec) if first <= day <= last]
    mature = on_days(days, "l.day")
    relations = labelled_relations(connection, spec, days, _columns_read(spec, *spec.features))
    columns = [*(f"p.{quoted(name)}" for name in spec.features), f"p.{quoted(spec.id)} AS __id"]
    log = f"{labelled_log(spec, columns, *relations)} WHERE l.label IS NOT NULL AND {mature}"
    reaches_back = not accepted_days(connection, spec, f"day <= DATE '{first}'")
    if reaches_back and spec.reference.path and spec.label and stage_reference(connection, spec).has_label:
        weight = f"p.{quoted(spec.sampling_weight)}" if spec.sampling_weight else "1.0"
        log += (
            f" UNION ALL SELECT p.day, {', '.join(columns)}, {weight}, p.{quoted(spec.label.column)} "
            f"FROM {REFERENCE_ROWS} p WHERE p.{quoted(spec.label.column)} IS NOT NULL "
            f"AND p.day NOT IN (SELECT day FROM {days_accepted(spec, 'inference_log')})"
        )
    return connection.execute(
        f"SELECT * EXCLUDE (__id) FROM ({log}) WHERE day BETWEEN ? AND ? ORDER BY day, __id", [first, last]
    ).df()


def _columns_read(spec: MonitorSpec, *columns: str) -> list[str]:
    return [*columns, spec.id, *([spec.sampling_weight] if spec.sampling_weight else [])]


def _logged_predictions(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> pd.DataFrame:
    """The log's own predictions of these days, for rows whose label is known."""
    read_rows_of(connection, days)
    relations = labelled_relations(connection, spec, days, _columns_read(spec, spec.prediction.column))
    rows = labelled_log(spec, [f"p.{quoted(spec.prediction.column)} AS __prediction"], *relations)
    return connection.execute(f"{rows} WHERE l.label IS NOT NULL AND p.day IN (SELECT unnest(?::DATE[]))", [list(days)]).df()


def _gate_verdict(
    warehouse: AnyWarehouse,
    registry: Registry,
    spec: MonitorSpec,
    challenger: RegisteredVersion,
    champion: RegisteredVersion | None,
) -> Verdict:
    first_text, last_text = challenger.tags.get("gate_first_day"), challenger.tags.get("gate_last_day")
    if not first_text or not last_text:
        return _verdict(spec, math.nan, None if champion is None else math.nan, 0)
    # Neither may have been trained on a row it is judged by.
    trained = [v.last_day for v in (challenger, champion) if v is not None and v.last_day is not None]
    last = date.fromisoformat(last_text)
    first = max([date.fromisoformat(first_text), *(day + timedelta(days=1) for day in trained)])
    with warehouse.connect(_without_rows(spec)) as connection:
        frame = labelled_features(connection, spec, first, last)
        counting = days_with_mature_labels(connection, spec, days_between(first, last))
        logged = _logged_predictions(connection, spec, counting)
    labels = frame["__label"].to_numpy(float)
    features = frame[list(spec.features)]
    metric = PRIMARY_METRIC[spec.task]

    def measured(model: Any) -> float:
        predictions = predict(model, _as_trained(spec, model, features), spec.task)
        return realised_metrics(labels, predictions, None, spec.task, weights=frame["__weight"])[metric]

    candidate, note = measured(registry.load(spec.name, challenger.version)), ""
    try:
        incumbent = measured(registry.load(spec.name, champion.version)) if champion is not None else None
    except (KeyError, TypeError, ValueError) as error:
        incumbent = None
        note = f"; the champion cannot score the features of today ({error}), so its logged predictions were judged"
    if incumbent is None:  # the champion was trained elsewhere, or on features that are gone: its predictions in the log
        said = logged["__prediction"]
        incumbent = realised_metrics(logged["__label"], said, None, spec.task, weights=logged["__weight"])[metric]
    verdict = _verdict(spec, candidate, incumbent, len(frame), first, last)
    return replace(verdict, reason=verdict.reason + note)


def _as_trained(spec: MonitorSpec, model: Any, features: pd.DataFrame) -> pd.DataFrame:
    """The features under the names a model knows; a model trained before a renaming knows the old name."""
    known = set(getattr(model, "feature_names_in_", features.columns))
    old = {name: feature.renamed_from for name, feature in spec.features.items() if feature.renamed_from in known}
    renamed = features.rename(columns={name: before for name, before in old.items() if name not in known})
    gone = sorted(known - set(renamed.columns))
    if gone:
        raise KeyError(f"no longer given: {', '.join(gone)}")
    return renamed


def _verdict(
    spec: MonitorSpec, candidate: float, incumbent: float | None, rows: int, first: date | None = None, last: date | None = None
) -> Verdict:
    needed, better_by = spec.retrain.minimum_gate_rows, spec.retrain.minimum_improvement
    return gate_verdict(
        spec.task,
        candidate,
        incumbent,
        rows=rows,
        minimum_rows=needed,
        minimum_improvement=better_by,
        first_day=first,
        last_day=last,
    )


def _next_day(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> date:
    """The first day a new champion can serve: the one after the newest in the log."""
    newest = newest_day(connection, spec)
    return newest + timedelta(days=1) if newest else spec.start_day
