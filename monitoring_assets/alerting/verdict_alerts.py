"""Alerts: which findings of a day are sent to whom, each once, and again after a failure. Delivery itself is apprise's.

Routes name environment variables, so no address or token reaches the YAML, the warehouse or a log.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import duckdb

from monitoring_assets.baselines.in_force import select_baselines
from monitoring_assets.drift.verdicts import drift_verdicts
from monitoring_assets.monitor_spec import SEVERITIES, AlertRoute, MonitorSpec, Severity
from monitoring_assets.performance.verdicts import performance_verdicts
from monitoring_assets.warehouse import table, transaction


@dataclass(frozen=True)
class Alert:
    """One finding of one day."""

    day: date
    subject: str
    severity: Severity
    message: str


def alerts_of(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, subject: str, day: date) -> list[Alert]:
    """The alert that a day's verdict on drift or performance gives; none where it is ok or cannot be judged."""
    found: list[tuple[Severity | None, str]]
    if subject == "drift":
        found = [(verdict.overall_severity, verdict.reason) for verdict in drift_verdicts(connection, spec, [day])]
    else:
        states = [state for _, state in performance_verdicts(connection, spec, [day])]
        # Nobody is woken for a model that has been replaced since.
        serving = select_baselines(connection, spec, "valid_from IS NOT NULL", [])[0].baseline_id
        found = [(state.severity, state.reason) for state in states if state.baseline_id == serving]
    return [Alert(day, subject, severity, reason) for severity, reason in found if severity is not None and severity != "ok"]


def unsent(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, route: AlertRoute, alerts: Sequence[Alert]) -> list[Alert]:
    """Those of these alerts, and of earlier ones that failed, which a route should have and has not received."""
    stored = connection.execute(
        f"SELECT day, subject, severity, message, delivered FROM {table(spec, 'alerts')} WHERE route = ? ORDER BY day, subject",
        [route.url_env],
    ).fetchall()
    received = {row[:3] for row in stored if row[4]}
    minimum = SEVERITIES.index(route.minimum_severity)
    due = {(a.day, a.subject, a.severity): a for a in (*(Alert(*row[:4]) for row in stored), *alerts)}
    return [alert for key, alert in due.items() if key not in received and SEVERITIES.index(alert.severity) >= minimum]


def send(spec: MonitorSpec, route: AlertRoute, alerts: Sequence[Alert]) -> str | None:
    """Send a route its alerts as one message. Returns why that failed, None where it did not."""
    address = os.environ.get(route.url_env)
    if not address:
        return f"the environment variable {route.url_env} is not set"
    try:
        import apprise
    except ImportError:
        return "apprise is not installed: pip install 'monitoring-assets[alerts]'"
    courier = apprise.Apprise()
    if not courier.add(address):
        return f"{route.url_env} does not hold an address apprise knows"
    gravest = max((alert.severity for alert in alerts), key=SEVERITIES.index)
    body = "\n".join(f"{alert.day} {alert.subject} {alert.severity}: {alert.message}" for alert in alerts)
    delivered = courier.notify(title=f"{spec.name}: {gravest}", body=body)
    return None if delivered else "the receiver refused it or did not answer"


def store_outcome(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, route: AlertRoute, alerts: Sequence[Alert], failure: str | None
) -> None:
    """Store that these alerts were delivered, or why not, in place of an earlier failure."""
    target = table(spec, "alerts")
    rows = [(a.day, a.subject, a.severity, a.message, route.url_env, failure is None, failure) for a in alerts]
    with transaction(connection):
        connection.executemany(
            f"DELETE FROM {target} WHERE day = ? AND subject = ? AND severity = ? AND route = ?",
            [(a.day, a.subject, a.severity, route.url_env) for a in alerts],
        )
        connection.executemany(f"INSERT INTO {target} VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
