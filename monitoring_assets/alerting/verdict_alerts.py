"""Alerts: what is worth telling of a day, to whom it was told, and that it is told once. How a message travels is apprise's.

Routes name environment variables, so no address or token reaches the YAML, the warehouse or a log.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import duckdb

from monitoring_assets.drift.verdicts import drift_verdicts
from monitoring_assets.monitor_spec import SEVERITIES, AlertRoute, MonitorSpec, Severity
from monitoring_assets.performance.verdicts import performance_verdicts
from monitoring_assets.warehouse import table


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
        found = [(verdict.severity, verdict.reason) for verdict in drift_verdicts(connection, spec, [day])]
    else:
        found = [(state.severity, state.reason) for _, state in performance_verdicts(connection, spec, [day])]
    return [Alert(day, subject, severity, reason) for severity, reason in found if severity is not None and severity != "ok"]


def untold(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, route: AlertRoute, alerts: Sequence[Alert]) -> list[Alert]:
    """Those grave enough for a route that it has not been given yet."""
    told = set(
        connection.execute(
            f"SELECT day, subject, severity FROM {table(spec, 'alerts')} WHERE route = ? AND delivered", [route.url_env]
        ).fetchall()
    )
    enough = SEVERITIES.index(route.minimum_severity)
    return [a for a in alerts if SEVERITIES.index(a.severity) >= enough and (a.day, a.subject, a.severity) not in told]


def send(spec: MonitorSpec, route: AlertRoute, alerts: Sequence[Alert]) -> str | None:
    """Give a route its alerts as one message. Returns why it was not delivered, None when it was."""
    address = os.environ.get(route.url_env)
    if not address:
        return f"environment variable {route.url_env} is not set"
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
    return None if delivered else "the receiver did not take it"


def record(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, route: AlertRoute, alerts: Sequence[Alert], failure: str | None
) -> None:
    """Keep what was told to a route, or why it was not."""
    rows = [(a.day, a.subject, a.severity, a.message, route.url_env, failure is None, failure) for a in alerts]
    connection.executemany(f"INSERT INTO {table(spec, 'alerts')} VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
