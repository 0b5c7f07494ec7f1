"""Which share of the rows a source delivered for a day was refused, and which columns the refusals are about.

Read from the account of each delivery and from the quarantine. What the accepted rows look like is judged in `findings.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

import duckdb

from monitoring_assets.engines.day_rows import logged_rows
from monitoring_assets.measuring.measure import Wanted
from monitoring_assets.measuring.ruled import PlainRule
from monitoring_assets.monitor_spec import MonitorSpec, Quality, Severity
from monitoring_assets.warehouse import quoted, table
from monitoring_assets.wording import listed

Asset = Literal["inference_log", "labels"]

# Rules of a delivered row that are about its id, without naming the column.
RULES_OF_THE_ID = ("repeated id", "unknown id")


@dataclass(frozen=True)
class Refusal:
    """Rows of a day refused for one rule; `column` is None where the row as a whole could not be read."""

    column: str | None
    rule: str
    rows: int

    def __str__(self) -> str:
        return f"{self.rule}{f' in {self.column}' if self.column else ''}: {self.rows}"


@dataclass(frozen=True)
class Completeness:
    """One column of what was delivered for a day: rows refused for its value, accepted rows without a value, and the share of
    the delivered rows that have a usable one."""

    column: str
    refused_rows: int
    missing_rows: int
    complete_share: float


@dataclass(frozen=True)
class Acceptance:
    """How much of a day's delivery was accepted. Without a `severity` it is not judged, for the `reason`."""

    day: date
    severity: Severity | None
    reason: str
    delivered_rows: int = 0
    refused_rows: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    incomplete: list[Completeness] = field(default_factory=list)

    @property
    def refused_share(self) -> float:
        return self.refused_rows / self.delivered_rows if self.delivered_rows else float("nan")


def acceptances(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, asset: Asset, days: Sequence[date]
) -> Iterator[Acceptance]:
    """The acceptance of each of these days, in their order."""
    accounts = {
        row[0]: row[1:]
        for row in connection.execute(
            f"SELECT day, delivered_rows, quarantined_rows, unreadable FROM {table(spec, 'deliveries')} "
            "WHERE asset = ? AND day IN (SELECT unnest(?::DATE[]))",
            [asset, list(days)],
        ).fetchall()
    }
    refusals = _refusals(connection, spec, asset, [day for day, (_, refused, _) in accounts.items() if refused])
    files = _files_not_read(connection, spec, asset, days)
    missing = _missing_rows(connection, spec, asset, days)
    for day in days:
        delivered, refused, unreadable = accounts.get(day, (0, 0, "the day has not been read yet"))
        if unreadable or not delivered:
            yield Acceptance(day, None, f"not judged: {unreadable or 'the source delivered no rows for the day'}")
            continue
        severity: Severity | None = severity_of(refused / delivered, spec.quality)
        found = refusals.get(day, [])
        reason = _in_words(spec, asset, day, delivered, refused, found)
        if files.get(day) and severity == "ok":
            severity, reason = None, f"not judged: {files[day]} of its files could not be read; {reason}"
        incomplete = _incomplete(delivered, found, missing.get(day, {}))
        yield Acceptance(day, severity, reason, delivered, refused, found, incomplete)


def severity_of(refused_share: float, quality: Quality) -> Severity:
    """
    >>> [severity_of(share, Quality()) for share in (0.01, 0.02, 0.06, 0.45)]
    ['ok', 'minor', 'moderate', 'severe']
    """
    if refused_share > quality.refused_severe:
        return "severe"
    if refused_share > quality.refused_moderate:
        return "moderate"
    return "minor" if refused_share > quality.refused_minor else "ok"


def _in_words(spec: MonitorSpec, asset: Asset, day: date, delivered: int, refused: int, refusals: Sequence[Refusal]) -> str:
    if not refused:
        return f"all {delivered} delivered rows accepted"
    named = listed([str(refusal) for refusal in refusals], 3)
    share = f"{100 * refused / delivered:.3g} %"
    listing = f"`monitoring-assets quarantine {spec.name} --day {day} --asset {asset}` lists them"
    return f"{refused} of {delivered} delivered rows refused ({share}; {named}); {listing}"


def _refusals(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, asset: Asset, days: Sequence[date]
) -> dict[date, list[Refusal]]:
    """By day, the rule most often broken first. A reason reads 'rule: column is value'; a value may look like a column."""
    found: dict[date, list[Refusal]] = {}
    rows = connection.execute(
        f"SELECT day, unnest(refused_columns), unnest(refused_rules) AS rule, unnest(refused_counts) AS refused "
        f"FROM {table(spec, 'deliveries')} WHERE asset = ? AND day IN (SELECT unnest(?::DATE[])) "
        "ORDER BY day, refused DESC, rule, 2",
        [asset, list(days)],
    ).fetchall()
    rows += connection.execute(
        "SELECT day, list_max([struct_pack(length := length(name), name := name) FOR name IN ?::VARCHAR[] "
        "IF starts_with(broken, name || ' is ')]).name AS named, rule, count(*) AS refused FROM ("
        "SELECT day, split_part(reason, ': ', 1) AS rule, substr(reason, length(rule) + 3) AS broken "
        f"FROM {table(spec, 'quarantine')} WHERE asset = ? AND original IS NOT NULL AND day IN (SELECT unnest(?::DATE[]))) "
        "GROUP BY day, named, rule ORDER BY day, refused DESC, rule, named",
        [_columns(spec, asset), asset, list(days) if not spec.is_in_lake else []],  # else some are kept as examples
    ).fetchall()
    for day, named, rule, refused in rows:
        found.setdefault(day, []).append(Refusal(spec.id if rule in RULES_OF_THE_ID else named, rule, refused))
    return found


def _columns(spec: MonitorSpec, asset: Asset) -> list[str]:
    if asset == "inference_log":
        return list(spec.log_columns)
    asked = (spec.id, spec.label.column if spec.label else None, spec.labels.event_time if spec.labels else None)
    return [name for name in asked if name]


def _files_not_read(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, asset: Asset, days: Sequence[date]
) -> dict[date, int]:
    found = connection.execute(
        f"SELECT day, count(DISTINCT source) FROM {table(spec, 'quarantine')} WHERE asset = ? AND original IS NULL "
        "AND day IN (SELECT unnest(?::DATE[])) GROUP BY day",
        [asset, list(days)],
    )
    return dict(found.fetchall())


def _missing_rows(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, asset: Asset, days: Sequence[date]
) -> dict[date, dict[str, int]]:
    """By day, the accepted rows without a value, per column that has some. Of labels in a lake they are not counted."""
    if spec.is_in_lake:
        return _missing_in_lake(connection, spec, days) if asset == "inference_log" else {}
    stored = {spec.id: "prediction_id", spec.label.column: "label"} if asset == "labels" and spec.label else None
    numeric = {name for name, kind in spec.log_columns.items() if kind == "DOUBLE" and not stored}
    names = stored or {name: name for name in spec.log_columns}
    counts = ", ".join(
        f"count(*) FILTER ({quoted(kept)} IS NULL{f' OR isnan({quoted(kept)})' if name in numeric else ''})"
        for name, kept in names.items()
    )
    rows = connection.execute(
        f"SELECT day, {counts} FROM {table(spec, asset)} WHERE day IN (SELECT unnest(?::DATE[])) GROUP BY day", [list(days)]
    ).fetchall()
    return {row[0]: {name: count for name, count in zip(names, row[1:], strict=True) if count} for row in rows}


def _missing_in_lake(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]
) -> dict[date, dict[str, int]]:
    rules = {place: PlainRule("not_null", name) for place, name in enumerate(spec.log_columns)}
    counted = logged_rows(connection, spec, days).tables(connection, Wanted(rules=rules))["ruled"].to_pylist()
    return {row["day"]: {str(rule.column): n for place, rule in rules.items() if (n := row[f"m{place}"])} for row in counted}


def _incomplete(delivered: int, refusals: Sequence[Refusal], missing: dict[str, int]) -> list[Completeness]:
    """The columns that lack a usable value in some delivered row, the least complete first."""
    refused: dict[str, int] = {}
    for refusal in refusals:
        if refusal.column:
            refused[refusal.column] = refused.get(refusal.column, 0) + refusal.rows
    found = [
        Completeness(
            column, refused.get(column, 0), missing.get(column, 0),
            1 - (refused.get(column, 0) + missing.get(column, 0)) / delivered,
        )
        for column in {**refused, **missing}
    ]  # fmt: skip
    return sorted(found, key=lambda each: (each.complete_share, each.column))
