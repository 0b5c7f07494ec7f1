"""The assets without partitions: the reference baseline, the candidate, the champion. Pure code is imported when one runs."""

from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from monitoring_assets.chosen_warehouse import warehouse_kind, warehouse_pool
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.orchestration.metadata import ASSET_TAG, as_list, as_table, declared_monitor, numbers, table_metadata
from monitoring_assets.orchestration.resources import MonitoringHome, errors_for_dagster

if TYPE_CHECKING:
    from monitoring_assets.baselines.in_force import Baseline
    from monitoring_assets.drift.readiness import Readiness

RETRAIN_ASSETS = ("model_candidate", "champion")
# How many candidates are trained at once, of all monitors: `dagster instance concurrency set monitoring_assets/training 2`.
TRAINING_POOL = "monitoring_assets/training"
DECISION_TAG = "monitoring_assets/decision"
READINESS_CHECK = "can_be_monitored"
# Set by a person on a retrain whose registry is lost for good.
START_OVER_TAG = "monitoring_assets/start_over"


def build_model_assets(spec: MonitorSpec) -> list[dg.AssetsDefinition]:
    """The baseline; and where the monitor has labels and may retrain, the candidate and the champion."""
    assets = [_reference_baseline(spec)]
    return [*assets, _model_candidate(spec), _champion(spec)] if can_retrain(spec) else assets


def can_retrain(spec: MonitorSpec) -> bool:
    return spec.retrain.enabled and spec.labels is not None


def _key(spec: MonitorSpec, name: str) -> dg.AssetKey:
    return dg.AssetKey([spec.name, name])


def _reference_baseline(spec: MonitorSpec) -> dg.AssetsDefinition:
    @dg.asset(
        name="reference_baseline",
        key_prefix=spec.name,
        group_name=spec.name,
        deps=[] if spec.reference.path else [_key(spec, "inference_log")],
        description="What days are compared with: profiles of the reference, and after a promotion of the new champion's data.",
        owners=spec.owners,
        kinds={warehouse_kind()},
        tags=ASSET_TAG,
        pool=warehouse_pool(),
        metadata=table_metadata(spec, "baselines") | declared_monitor(spec),
        check_specs=[
            dg.AssetCheckSpec(
                READINESS_CHECK,
                asset=_key(spec, "reference_baseline"),
                description="Every column can alarm, and the monitor's rows reach every minimum of its settings.",
            )
        ],
    )
    def reference_baseline(monitoring_home: MonitoringHome) -> dg.MaterializeResult:
        from monitoring_assets.baselines.building import build_reference_baseline
        from monitoring_assets.baselines.reference import stage_reference
        from monitoring_assets.feature_changes import changes_so_far, changes_to_show
        from monitoring_assets.performance.reference_metric import metric_of_reference
        from monitoring_assets.quality.declared import check_declared

        with errors_for_dagster():
            check_declared(spec)
            _require_functions(spec)
            located = monitoring_home.located(spec)
            with monitoring_home.connect(spec) as connection:
                reference = stage_reference(connection, located)
                metric = metric_of_reference(connection, located, reference)
                baseline = build_reference_baseline(connection, located, reference, metric)
                changes_to_show(connection, spec, "reference_baseline")
                changes = changes_so_far(connection, spec)
            found = _readiness_of(monitoring_home, spec, baseline)
        return dg.MaterializeResult(
            metadata=_baseline_metadata(baseline)
            | _readiness_metadata(found)
            | ({"feature_changes": as_list(changes)} if changes else {}),
            data_version=dg.DataVersion(baseline.baseline_id),
            check_results=[dg.AssetCheckResult(check_name=READINESS_CHECK, **_readiness_result(found))],
        )

    return reference_baseline


def _require_functions(spec: MonitorSpec) -> None:
    """Raise for a missing function when the monitor is set up, not at the first retrain weeks later."""
    from monitoring_assets.ingestion.sources import load_reader
    from monitoring_assets.retraining.training import load_trainer

    if can_retrain(spec):
        load_trainer(spec.trainer)
    for source in (spec.log, spec.labels):
        if source is not None and source.reader is not None:
            load_reader(source.reader)


def _model_candidate(spec: MonitorSpec) -> dg.AssetsDefinition:
    upstream = ["inference_log", "labels", "drift_scores", "performance", "reference_baseline"]

    @dg.asset(
        name="model_candidate",
        key_prefix=spec.name,
        group_name=spec.name,
        deps=[_key(spec, name) for name in upstream],
        description="A model retrained on the newest labelled days before the gate's, registered in MLflow as challenger.",
        owners=spec.owners,
        kinds={"mlflow", "scikitlearn"},
        tags=ASSET_TAG,
        pool=TRAINING_POOL,
        metadata=_model_metadata(spec, "challenger"),
    )
    def model_candidate(context: dg.AssetExecutionContext, monitoring_home: MonitoringHome) -> dg.MaterializeResult:
        from monitoring_assets.retraining.candidates import train, weights_used
        from monitoring_assets.retraining.registry import Registry

        located = monitoring_home.located(spec)
        with errors_for_dagster():
            with monitoring_home.connect(spec):
                pass  # the tables exist from here on
            version, candidate, plan = train(
                monitoring_home.warehouse_of(spec),
                Registry(monitoring_home.folder),
                located,
                _decision_id(context),
                starts_over=context.run.tags.get(START_OVER_TAG) == "yes",
            )
        shown: dict[str, Any] = {
            "model_version": version,
            "decision_id": _decision_id(context),
            "data_digest": candidate.data_digest,
            "trained_on": f"{candidate.first_day} to {candidate.last_day}",
            "kept_for_the_gate": f"{plan.gate_first_day} to {plan.gate_last_day}" if plan.gate_first_day else "nothing",
            "training_rows": candidate.row_count,
            "sampling_weights": weights_used(spec, candidate),
        }
        shown |= numbers({f"cross_validated_{candidate.metric}": candidate.metric_value})
        return dg.MaterializeResult(metadata=shown)

    return model_candidate


def _champion(spec: MonitorSpec) -> dg.AssetsDefinition:
    @dg.asset(
        name="champion",
        key_prefix=spec.name,
        group_name=spec.name,
        deps=[_key(spec, "model_candidate")],
        description="The verdict candidate against champion on labelled days that neither was trained on, and the promotion.",
        owners=spec.owners,
        kinds={"mlflow"},
        tags=ASSET_TAG,
        metadata=_model_metadata(spec, "champion"),
        check_specs=[
            dg.AssetCheckSpec(
                "beats_champion", asset=_key(spec, "champion"), description="The candidate was better on days new to both."
            )
        ],
    )
    def champion(context: dg.AssetExecutionContext, monitoring_home: MonitoringHome) -> dg.MaterializeResult:
        from monitoring_assets.retraining.candidates import gate
        from monitoring_assets.retraining.registry import Registry

        located = monitoring_home.located(spec)
        with errors_for_dagster():
            outcome = gate(monitoring_home.warehouse_of(spec), Registry(monitoring_home.folder), located, _decision_id(context))
            baseline = outcome.baseline
            found = None if baseline is None else _readiness_of(monitoring_home, spec, baseline)
        verdict = outcome.verdict
        shown: dict[str, Any] = {
            "verdict": "promoted" if verdict.promoted else "refused",
            "reason": verdict.reason,
            "model_version": outcome.version,
            "gate_rows": verdict.rows,
        }
        shown |= numbers(
            {
                f"candidate_{verdict.metric}": verdict.candidate_metric,
                f"champion_{verdict.metric}": verdict.champion_metric,
                "improvement": verdict.improvement,
            }
        )
        if baseline is not None and found is not None:
            _log_baseline(context, spec, baseline, found)
        passed = dg.AssetCheckResult(
            check_name="beats_champion",
            passed=verdict.promoted,
            severity=dg.AssetCheckSeverity.WARN,
            description=verdict.reason,
        )
        return dg.MaterializeResult(metadata=shown, check_results=[passed])

    return champion


def _decision_id(context: dg.AssetExecutionContext) -> str:
    """The decision that asked for the run; a run started by hand is a decision of its own."""
    return context.run.tags.get(DECISION_TAG) or f"by-hand-{context.run.run_id[:8]}"


def _model_metadata(spec: MonitorSpec, alias: str) -> dict[str, Any]:
    """The model's address in MLflow, and the warehouse's table of decisions about it."""
    return table_metadata(spec, "retrain_decisions") | {"mlflow_model": f"models:/{spec.name}@{alias}"}


def _baseline_metadata(baseline: "Baseline") -> dict[str, Any]:
    shown: dict[str, Any] = {
        "baseline_id": baseline.baseline_id,
        "in_force_from": str(baseline.valid_from),
        "data": f"{baseline.first_day} to {baseline.last_day}",
        "dagster/row_count": baseline.row_count,
        "model_version": baseline.model_version or "none yet",
    }
    measured = "cross_validated" if baseline.model_version else "reference"
    return shown | numbers({f"{measured}_{baseline.metric}": baseline.metric_value})


def _readiness_of(monitoring_home: MonitoringHome, spec: MonitorSpec, baseline: "Baseline") -> "Readiness":
    """How well drift can be seen with a baseline. Its thresholds are calibrated and stored if it has none."""
    from monitoring_assets.drift.daily_scores import ensure_thresholds
    from monitoring_assets.drift.readiness import readiness
    from monitoring_assets.drift.thresholds import read_thresholds

    inputs = ensure_thresholds(lambda: monitoring_home.connect(spec), spec, baseline)
    return readiness(spec, inputs.reference, read_thresholds(inputs.thresholds))


def _readiness_metadata(found: "Readiness") -> dict[str, Any]:
    """What the monitor can see: per column and window the smallest shift that alarms, in standard deviations."""
    rows = [
        {"column": each.column, "kind": each.kind}
        | {f"alarms from, {window}": shift for window, shift in each.needed.items()}
        | {"problem": each.problem or ""}
        for each in found.columns
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    shown: dict[str, Any] = dict(numbers({"rows_a_day": found.rows_a_day, "reference_days": found.reference_days}))
    if rows:
        shown["columns"] = as_table([{name: row.get(name) for name in names} for row in rows])
    if found.reasons:
        shown["cannot_be_judged"] = dg.MetadataValue.md("\n".join(f"- {reason}" for reason in found.reasons))
    return shown


def _readiness_result(found: "Readiness") -> dict[str, Any]:
    seen = f"{len(found.can_alarm)} of {len(found.columns)} columns can alarm"
    based = f"about {found.rows_a_day:,} rows a day, {found.reference_days} reference days"
    return {
        "passed": not found.reasons,
        "severity": dg.AssetCheckSeverity.WARN,
        "description": "; ".join([f"{seen} ({based})", *found.reasons]),
    }


def _log_baseline(context: dg.AssetExecutionContext, spec: MonitorSpec, baseline: "Baseline", found: "Readiness") -> None:
    """A promotion's baseline, as an event of `reference_baseline`, and the check of it."""
    key = _key(spec, "reference_baseline")
    context.log_event(dg.AssetMaterialization(key, metadata=_baseline_metadata(baseline) | _readiness_metadata(found)))
    (record,) = context.instance.fetch_materializations(key, limit=1).records
    target = AssetCheckEvaluationTargetMaterializationData(
        storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
    )
    evaluation = dg.AssetCheckEvaluation(
        asset_key=key, check_name=READINESS_CHECK, metadata={}, target_materialization_data=target, **_readiness_result(found)
    )
    # Accepted since 1.6 and what Dagster itself does, though its annotation leaves it out.
    context.op_execution_context.log_event(evaluation)  # type: ignore[arg-type]
