"""Asset checks, one result per day. The findings come from pure functions; here they become Dagster's.

In a run over a range of days Dagster 1.13 gives a check's result no partition, and every day would show as skipped. So each
day's evaluation is logged on its own, with the materialisation it judged, and the op returns one summary. Pure code is
imported when a check runs.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from monitoring_assets.chosen_warehouse import warehouse_pool
from monitoring_assets.monitor_spec import MonitorSpec, Severity, worst
from monitoring_assets.orchestration.daily_work import checks_of
from monitoring_assets.orchestration.event_batches import stored_together
from monitoring_assets.orchestration.metadata import as_table, numbers, verdict_metadata
from monitoring_assets.orchestration.partitions import daily_partitions, days_of
from monitoring_assets.orchestration.resources import MonitoringHome, errors_for_dagster
from monitoring_assets.quality.expectations import READABLE_SOURCE, Kind, kinds_of
from monitoring_assets.wording import listed, shortened

if TYPE_CHECKING:
    from monitoring_assets.quality.acceptance import Asset
    from monitoring_assets.quality.findings import Finding


@dataclass(frozen=True)
class DayResult:
    """What one check says of one day. Without a severity the day is not judged, for the reason the description gives."""

    day: date
    check: str
    severity: Severity | None
    description: str
    metadata: dict[str, Any] = field(default_factory=dict)


# Dagster's storage returns at most this many event records at once.
RECORDS_AT_ONCE = 1000

Evaluate = Callable[[duckdb.DuckDBPyConnection, MonitorSpec, list[date]], Iterator[DayResult]]

QUALITY_CHECKS: dict[Kind, str] = {
    "not_null": "Missing values stay within what the reference shows.",
    "in_range": "Numbers lie in the contract's range, or the reference's.",
    "in_set": "Categories are ones the contract or the reference knows.",
    "of_type": "Columns have their declared types.",
    "unique_id": "No prediction id stands twice.",
    "row_count": "The day has about as many rows as the reference's same weekdays.",
    "no_outliers": "No more values and predictions are far out than in the reference.",
    "prediction_varies": "The model does not predict the same for every row.",
    "fresh": "The day's events go on until about when the reference's do.",
    "correlated": "Features that go together in the reference still do.",
    "declared": "The Great Expectations of the monitor's YAML hold.",
}


ACCEPTED = {"accepted": "Of the delivered rows hardly any are refused."}


def build_asset_checks(spec: MonitorSpec) -> list[dg.AssetChecksDefinition]:
    """Quality on `inference_log` and `labels`, drift on `drift_scores`, performance on `performance` where there are labels."""
    checks = [
        _daily_checks(
            spec, "inference_log", "quality", ACCEPTED | {kind: QUALITY_CHECKS[kind] for kind in kinds_of(spec)}, _log_quality
        ),
        _daily_checks(
            spec, "drift_scores", "drift", {"drift_within_threshold": "No column has moved beyond its threshold."}, _drift
        ),
    ]
    if spec.labels is not None:
        described = {
            "performance_within_threshold": "The realised metric has not fallen below the baseline's by more than its margin."
        }
        checks.append(_daily_checks(spec, "labels", "labels", ACCEPTED, partial(_accepted, "labels")))
        checks.append(_daily_checks(spec, "performance", "performance", described, _performance))
    return checks


def _daily_checks(
    spec: MonitorSpec, asset: str, topic: str, described: dict[str, str], evaluate: Evaluate
) -> dg.AssetChecksDefinition:
    key = dg.AssetKey([spec.name, asset])
    partitions = daily_partitions(spec)
    specs = [
        dg.AssetCheckSpec(name, asset=key, description=description, partitions_def=partitions)
        for name, description in described.items()
    ]

    @dg.multi_asset_check(name=f"{spec.name}_{topic}_checks", specs=specs, pool=warehouse_pool())
    def daily_checks(context: dg.AssetCheckExecutionContext, monitoring_home: MonitoringHome) -> Iterator[dg.AssetCheckResult]:
        days = days_of(context.op_execution_context.partition_keys)
        with errors_for_dagster(), monitoring_home.connect(spec, checks_of(spec, days, topic)) as connection:
            results = list(evaluate(connection, monitoring_home.located(spec), days))
        if context.op_execution_context.has_partition_key:  # a range of one day is a range all the same
            yield from (_result(key, result) for result in results)
        else:
            _log_each_day(context, key, results)
            yield from _summaries(key, list(described), results)

    return daily_checks


def _log_quality(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: list[date]) -> Iterator[DayResult]:
    yield from _accepted("inference_log", connection, spec, days)
    yield from _quality(connection, spec, days)


def _accepted(asset: "Asset", connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: list[date]) -> Iterator[DayResult]:
    from monitoring_assets.quality.acceptance import acceptances

    for found in acceptances(connection, spec, asset, days):
        counts = {"delivered_rows": found.delivered_rows, "refused_rows": found.refused_rows}
        shown: dict[str, Any] = dict(numbers(counts | {"refused_share": found.refused_share}))
        if found.refusals:
            shown["refused_for"] = as_table([asdict(refusal) for refusal in found.refusals])
        if found.incomplete:
            shown["completeness"] = as_table([asdict(column) for column in found.incomplete])
        yield DayResult(found.day, "accepted", found.severity, found.reason, shown)


def _quality(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: list[date]) -> Iterator[DayResult]:
    from monitoring_assets.quality.daily_findings import daily_findings

    by_check: dict[tuple[date, str], list[Finding]] = defaultdict(list)
    for finding in daily_findings(connection, spec, days):
        by_check[finding.day, finding.check].append(finding)
    for day in days:
        has_rows = any(finding.observed > 0 for finding in by_check[day, "row_count"])
        for kind in kinds_of(spec):
            found = by_check[day, kind]
            if found or has_rows:
                yield _quality_result(day, kind, found)
            else:
                yield DayResult(day, kind, None, "not judged: the day has no rows")


def _quality_result(day: date, kind: str, findings: "list[Finding]") -> DayResult:
    bad = [finding for finding in findings if finding.success is False]
    unjudged = [finding for finding in findings if finding.severity is None]
    shown: dict[str, Any] = {"expectations": len(findings), **numbers({"failing": len(bad), "not_judged": len(unjudged)})}
    if bad:
        shown["findings"] = as_table([_finding_row(finding) for finding in bad])
    names = ", ".join(dict.fromkeys(finding.column or _of_rows(finding) for finding in bad))
    parts = [f"{len(bad)} of {len(findings)} expectations broken: {names}"] if bad else []
    if unjudged:
        reasons = listed(list(dict.fromkeys(str(finding.reason) for finding in unjudged)), 5)
        parts.append(f"not judged: {len(unjudged)} of {len(findings)} expectations ({reasons})")
    if not findings:
        parts = ["nothing is expected: neither the contract nor the reference says anything of this kind"]
    # What is broken is graver than what is not judged, and that is no pass.
    is_open = bool(unjudged) and not bad
    severity = None if is_open else worst([finding.severity for finding in findings if finding.severity])
    return DayResult(day, kind, severity, "; ".join(parts) or f"{len(findings)} expectations hold", shown)


def _finding_row(finding: "Finding") -> dict[str, Any]:
    return {
        "column": finding.column or "",
        "expectation": finding.expectation,
        "severity": finding.severity,
        "observed": round(finding.observed, 6),
        "expected": finding.expected,
        "arguments": shortened(json.dumps(finding.kwargs, ensure_ascii=False), 200),
        "unexpected_count": finding.unexpected_count,
        "unexpected_percent": finding.unexpected_percent,
        "partial_unexpected_list": ", ".join(finding.partial_unexpected_list),
    }


def _of_rows(finding: "Finding") -> str:
    """What a finding about the day as a whole says: how many rows, why its source could not be read, or what was found."""
    if finding.expected == READABLE_SOURCE:
        return f"not read: {'; '.join(finding.partial_unexpected_list)}"
    return f"{finding.observed:.0f} rows" if finding.check == "row_count" else finding.expectation


def _drift(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: list[date]) -> Iterator[DayResult]:
    from monitoring_assets.drift.verdicts import drift_verdicts

    for verdict in drift_verdicts(connection, spec, days):
        yield DayResult(
            verdict.day, "drift_within_threshold", verdict.overall_severity, verdict.reason, verdict_metadata(verdict)
        )


def _performance(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: list[date]) -> Iterator[DayResult]:
    from monitoring_assets.performance.verdicts import performance_verdicts

    for day, state in performance_verdicts(connection, spec, days):
        measured = {state.metric: state.value, f"baseline_{state.metric}": state.baseline_value, "fall": state.fall}
        shown: dict[str, Any] = dict(numbers(measured | {"labelled_rows": state.labelled_rows, "days": state.days_present}))
        if state.model_version is not None:
            shown["model_version"] = state.model_version
        reason = state.reason if state.severity is not None else f"not judged: {state.reason}"
        yield DayResult(day, "performance_within_threshold", state.severity, reason, shown)


def _result(key: dg.AssetKey, result: DayResult) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(**_arguments(key, result))


def _arguments(key: dg.AssetKey, result: DayResult) -> dict[str, Any]:
    """What Dagster is given of a day's result, whether as a result or as a logged evaluation."""
    return {
        "asset_key": key,
        "check_name": result.check,
        "passed": result.severity == "ok",
        "severity": _dagster_severity(result.severity),
        "description": result.description,
        "metadata": {"severity": result.severity or "not judged", **result.metadata},
    }


def _dagster_severity(severity: Severity | None) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if severity == "severe" else dg.AssetCheckSeverity.WARN


def _log_each_day(context: dg.AssetCheckExecutionContext, key: dg.AssetKey, results: Sequence[DayResult]) -> None:
    targets = _newest_materialisations(context.instance, key, sorted({result.day.isoformat() for result in results}))
    with stored_together(context.instance, context.run.run_id):
        for result in results:
            # Accepted since 1.6 and what Dagster itself does, though its annotation leaves it out.
            context.op_execution_context.log_event(_evaluation(key, result, targets))  # type: ignore[arg-type]


def _evaluation(
    key: dg.AssetKey, result: DayResult, targets: Mapping[str, AssetCheckEvaluationTargetMaterializationData]
) -> dg.AssetCheckEvaluation:
    partition = result.day.isoformat()
    return dg.AssetCheckEvaluation(
        **_arguments(key, result), target_materialization_data=targets.get(partition), partition=partition
    )


def _newest_materialisations(
    instance: dg.DagsterInstance, key: dg.AssetKey, partitions: Sequence[str]
) -> dict[str, AssetCheckEvaluationTargetMaterializationData]:
    newest = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION, set(partitions))
    ids = list(newest.values())
    records = [
        record
        for start in range(0, len(ids), RECORDS_AT_ONCE)
        for record in instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, storage_ids=ids[start : start + RECORDS_AT_ONCE]), limit=RECORDS_AT_ONCE
        ).records
    ]
    return {
        str(record.partition_key): AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        )
        for record in records
    }


def _summaries(key: dg.AssetKey, checks: Sequence[str], results: Sequence[DayResult]) -> Iterator[dg.AssetCheckResult]:
    for check in checks:
        mine = [result for result in results if result.check == check]
        broken = [str(result.day) for result in mine if result.severity not in ("ok", None)]
        unjudged = [str(result.day) for result in mine if result.severity is None]
        shown: dict[str, Any] = {"days": len(mine), "broken_days": len(broken), "unjudged_days": len(unjudged)}
        shown |= {name: ", ".join(days[-50:]) for name, days in (("which", broken), ("not_judged", unjudged)) if days}
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=check,
            passed=not broken and not unjudged,
            severity=_dagster_severity(worst([result.severity or "ok" for result in mine])),
            description=f"of {len(mine)} days {_days_in_words(broken, 'broken')}, {_days_in_words(unjudged, 'not judged')}",
            metadata=shown,
        )


def _days_in_words(days: Sequence[str], state: str) -> str:
    return f"{len(days)} {state}" + (f" (the last on {days[-1]})" if days else "")
