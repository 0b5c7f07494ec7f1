"""Evidence gathered from the warehouse, and decisions stored in it. `policy.py` decides what follows from evidence."""

from datetime import date

import duckdb

from monitoring_assets.baselines.in_force import Baseline, baselines_in_force
from monitoring_assets.drift.multivariate import ALL_FEATURES
from monitoring_assets.monitor_spec import SEVERITIES, MonitorSpec, Severity
from monitoring_assets.performance.verdicts import current_standing
from monitoring_assets.retraining.gate import Verdict
from monitoring_assets.retraining.policy import Decision, Evidence
from monitoring_assets.sql_text import days_accepted, days_labelled
from monitoring_assets.warehouse import table
from monitoring_assets.wording import listed

# What a severe finding of each kind says; a declared one says its expectation.
BROKEN_TOLD = {
    "not_null": "missing values of {column}",
    "in_range": "values of {column} out of range",
    "in_set": "unknown values of {column}",
    "of_type": "wrong type of {column}",
    "unique_id": "repeated values of {column}",
    "prediction_varies": "the same {column} in all rows",
}


def gather_evidence(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, *, is_in_flight: bool, is_backfill: bool
) -> Evidence:
    """Everything the policy asks about, as the warehouse has it now.

    Raises
    ------
    BaselineMissing
        When the monitor has no baseline yet.
    """
    day = _one(connection, f"SELECT max(day) FROM {table(spec, 'drift_scores')}")
    ((baseline, _),) = baselines_in_force(connection, spec, [day or spec.start_day])
    drift = _worst_severities(connection, spec, day)
    state = current_standing(connection, spec, baseline)
    labelled = f"FROM {days_labelled(spec)} WHERE known > 0 AND day IN (SELECT day FROM {days_accepted(spec)})"
    decided = f"FROM {table(spec, 'retrain_decisions')}"
    broken, unjudged = window_quality(connection, spec, day)
    return Evidence(
        day=day,
        baseline_id=baseline.baseline_id,
        has_model=_has_model(connection, spec, baseline),
        severities={name: drift.get(name) for name in spec.features},
        prediction_severity=drift.get(spec.prediction.column),
        together_severity=drift.get(ALL_FEATURES),
        metric=state.metric,
        metric_value=state.value,
        baseline_value=state.baseline_value,
        fall=state.fall,
        metric_rows=state.labelled_rows,
        unjudged_metric=state.reason if state.severity is None else None,
        untrained_rows=_one(connection, f"SELECT sum(known)::BIGINT {labelled} AND day > ?", baseline.last_day) or 0,
        newest_labelled_day=_one(connection, f"SELECT max(day) {labelled}"),
        last_retrain_day=_one(connection, f"SELECT max(day) {decided} WHERE verdict IS NOT NULL"),
        newest_decided_day=_one(connection, f"SELECT max(day) {decided}"),
        is_in_flight=is_in_flight,
        is_backfill=is_backfill,
        severe_quality=broken,
        unjudged_days=unjudged,
        drifted_segments=tuple(
            _one(connection, f"SELECT segments FROM {table(spec, 'drift_verdicts')} WHERE day = ?", day) or ()
        ),
    )


def window_quality(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, day: date | None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """For the retrain window that ends on a day: the severe faults of each day's rows, worst first, and the days whose rows have
    not been judged. A day without rows, or whose new file could not be read, moves no window."""
    if day is None:
        return {}, ()
    log, quality = days_accepted(spec, "inference_log"), table(spec, "quality")
    within = f"day BETWEEN '{day}'::DATE - {spec.retrain_window_days - 1} AND '{day}'::DATE"
    found = connection.execute(
        f"SELECT day, kind, column_name, expectation, unexpected_percent FROM {quality} WHERE {within} AND severity = 'severe' "
        f"AND kind <> 'row_count' AND day IN (SELECT day FROM {log} WHERE {within}) "
        "ORDER BY day, unexpected_percent DESC NULLS LAST, column_name"
    ).fetchall()
    findings: dict[str, list[str]] = {}
    for broken_day, kind, column, expectation, percent in found:
        words = BROKEN_TOLD.get(kind, expectation).format(column=column)
        findings.setdefault(str(broken_day), []).append(words if percent is None else f"{words}: {percent:.0f} %")
    broken = {name: listed(each, 3) for name, each in findings.items()}
    unjudged = connection.execute(
        f"SELECT DISTINCT day FROM {log} WHERE {within} AND day NOT IN (SELECT day FROM {quality}) ORDER BY day"
    ).fetchall()
    return broken, tuple(str(row[0]) for row in unjudged)


def store_decision(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, decision: Decision) -> None:
    """Keep a decision, fired or not. The same evidence is kept once."""
    connection.execute(
        f"INSERT INTO {table(spec, 'retrain_decisions')} BY NAME SELECT * FROM (SELECT ?::VARCHAR AS decision_id, "
        "?::DATE AS day, ?::BOOLEAN AS retrain, ?::VARCHAR AS reason, ?::VARCHAR AS evidence) "
        f"WHERE decision_id NOT IN (SELECT decision_id FROM {table(spec, 'retrain_decisions')})",
        [decision.decision_id, decision.day, decision.retrain, decision.reason, decision.evidence.as_json()],
    )


def find_decision(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, decision_id: str) -> tuple[bool, str] | None:
    """Whether evidence was decided before: (retrain, reason), or None."""
    found = connection.execute(
        f"SELECT retrain, reason FROM {table(spec, 'retrain_decisions')} WHERE decision_id = ?", [decision_id]
    ).fetchone()
    return (found[0], found[1]) if found else None


def find_verdict(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, version: str) -> tuple[bool, str] | None:
    """The gate's verdict on a candidate: (promoted, reason), or None."""
    found = connection.execute(
        f"SELECT verdict = 'promoted', verdict_reason FROM {table(spec, 'retrain_decisions')} "
        "WHERE candidate_version = ? AND verdict IS NOT NULL",
        [version],
    ).fetchone()
    return (found[0], found[1]) if found else None


def store_verdict(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, decision_id: str, version: str, verdict: Verdict
) -> None:
    """Store the gate's verdict with the decision that asked for the candidate; a candidate made by hand gets its own."""
    target = table(spec, "retrain_decisions")
    connection.execute(
        f"INSERT INTO {target} BY NAME SELECT ?::VARCHAR AS decision_id, "
        f"(SELECT max(day) FROM {days_accepted(spec, 'inference_log')}) AS day, true AS retrain, 'asked for by hand' AS reason "
        f"WHERE NOT EXISTS (SELECT 1 FROM {target} WHERE decision_id = ?)",
        [decision_id, decision_id],
    )
    connection.execute(
        f"UPDATE {target} SET candidate_version = ?, verdict = ?, verdict_reason = ? WHERE decision_id = ?",
        [version, "promoted" if verdict.promoted else "refused", verdict.reason, decision_id],
    )


def _worst_severities(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, day: date | None) -> dict[str, Severity | None]:
    rows = connection.execute(
        f"SELECT feature, list(severity) FROM {table(spec, 'drift_scores')} WHERE day = ? AND window_days = ? "
        "AND segment IS NULL AND severity IS NOT NULL GROUP BY feature",
        [day, spec.retrain_window_days],
    ).fetchall()
    return {feature: max(severities, key=SEVERITIES.index) for feature, severities in rows}


def _has_model(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, baseline: Baseline) -> bool:
    """Whether the baseline knows predictions: a champion's, or those of a model trained elsewhere."""
    found = _one(
        connection,
        f"SELECT count(*) FROM {table(spec, 'baseline_profiles')} WHERE baseline_id = ? AND feature = ?",
        baseline.baseline_id,
        spec.prediction.column,
    )
    return bool(found)


def _one(connection: duckdb.DuckDBPyConnection, sql: str, *parameters: object):  # type: ignore[no-untyped-def]
    found = connection.execute(sql, list(parameters)).fetchone()
    return found[0] if found else None
