"""Whose labels count: one rule for performance, training and the gate.

A day's labels are mature when `label.delay_days` have passed since the day, or, where `label.mature_coverage` is stated, as soon
as that share of its predictions has a label. Before that the known labels are not a fair sample: a fraud may be charged back on
the second day, while an honest payment is known to be honest on the thirtieth. Reading labels is `labels.py`'s.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb

from monitoring_assets.monitor_spec import Label, MonitorSpec
from monitoring_assets.sql_text import days_accepted, days_labelled
from monitoring_assets.warehouse import include_rows, newest_day
from monitoring_assets.warehouse_reads import labelled_days


def mature_days(label: Label, days: Collection[date], as_of: date, coverage: Mapping[date, float] | None = None) -> list[date]:
    """Those of the days whose labels count, in order. `coverage` is the share of a day's predictions whose label is known.

    Examples
    --------
    >>> first, second = date(2026, 3, 2), date(2026, 3, 3)
    >>> mature_days(Label(column="fraud", delay_days=30), [first, second], as_of=date(2026, 4, 1))
    [datetime.date(2026, 3, 2)]
    >>> early = Label(column="fraud", delay_days=30, mature_coverage=0.95)
    >>> mature_days(early, [first, second], as_of=date(2026, 3, 4), coverage={first: 0.4, second: 0.97})
    [datetime.date(2026, 3, 3)]
    """
    known, enough = coverage or {}, label.mature_coverage
    return sorted(
        day
        for day in set(days)
        if day + timedelta(days=label.delay_days) <= as_of or (enough is not None and known.get(day, 0.0) >= enough)
    )


def labels_as_of(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, now: datetime | None = None) -> date:
    """The last complete day as the labels' delay counts it.

    A monitor with an `end_day` is a replay, whose clock is the newest day of its log: it decides as the real year would have.
    A live one goes by the clock, so a log that has stopped does not stop the labels of its last days.
    """
    newest = newest_day(connection, spec) or spec.start_day - timedelta(days=1)
    if spec.end_day is not None:
        return newest
    yesterday = (now or datetime.now(UTC)).astimezone(ZoneInfo(spec.time_zone)).date() - timedelta(days=1)
    return max(newest, yesterday)


def days_with_mature_labels(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Collection[date] | None = None, now: datetime | None = None
) -> list[date]:
    """The days whose stored labels count: of those given, or of all that have any label."""
    if spec.label is None:
        return []
    if days is None:
        days = labelled_days(connection, spec)
    as_of = labels_as_of(connection, spec, now)
    waiting = [day for day in days if day + timedelta(days=spec.label.delay_days) > as_of]
    return mature_days(spec.label, days, as_of, _coverage(connection, spec, spec.label, waiting))


def why_immature(label: Label, day: date) -> str:
    """Why the labels of a day do not count yet, in words.

    >>> why_immature(Label(column="fraud", delay_days=30), date(2026, 3, 2))
    'its labels do not count before 2026-04-01 is over (label.delay_days: 30)'
    """
    sooner = f", or {label.mature_coverage:.0%} of them are known".replace("%", " %") if label.mature_coverage is not None else ""
    due = day + timedelta(days=label.delay_days)
    return f"its labels do not count before {due} is over{sooner} (label.delay_days: {label.delay_days})"


def _coverage(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, label: Label, days: Collection[date]
) -> dict[date, float]:
    """The share of each day's predictions that have a label, including labels that say it will never be known."""
    if label.mature_coverage is None or not days:
        return {}
    include_rows(connection, spec, sorted(days))
    found = connection.execute(
        f"SELECT p.day, coalesce(l.row_count, 0) / p.row_count FROM {days_accepted(spec)} p "
        f"LEFT JOIN {days_labelled(spec)} l USING (day) "
        "WHERE p.day IN (SELECT unnest(?::DATE[]))",
        [list(days)],
    ).fetchall()
    return dict(found)
