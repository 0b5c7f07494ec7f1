"""Facts about a baseline's days that profiles of single columns do not hold: correlations, and the hour of the last event.

Only the baseline's own rows are read, once, when it is made. `quality/facts.py` learns from them what to expect of a day.
"""

from collections.abc import Sequence
from datetime import date
from itertools import combinations

import duckdb
import pyarrow as pa

from monitoring_assets.engines.day_rows import Rows
from monitoring_assets.measuring.measure import Wanted
from monitoring_assets.measuring.ruled import PlainRule
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.warehouse import quoted, table

# Weaker pairs are not kept, because nothing is expected of them.
WEAKEST_KEPT = 0.3
# Rows times pairs read for correlations: about a second. Larger baselines are sampled, smaller ones read whole.
BUDGET = 100_000_000
PAIRS_AT_ONCE = 500

Pair = tuple[str, str]


def write_day_facts(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, baseline_id: str, rows: Rows) -> None:
    """Store the facts of the days of these rows as the baseline's."""
    target = table(spec, "baseline_facts")
    connection.register("last_events", rows.tables(connection, Wanted(rules={0: PlainRule("fresh")}))["ruled"])
    connection.execute(
        f"INSERT INTO {target} BY NAME SELECT ?::VARCHAR AS baseline_id, day, 'hours_before_end' AS fact, "
        f"?::VARCHAR[] AS columns, {_hours_before_end(spec)} AS value, rows AS row_count FROM last_events "
        "WHERE last0 IS NOT NULL ORDER BY day",
        [baseline_id, [spec.event_time]],
    )
    connection.unregister("last_events")
    numeric = [name for name, feature in spec.features.items() if feature.kind == "numeric"]
    pairs = list(combinations(numeric, 2))
    if not pairs:
        return
    read = rows.relation(connection, numeric, at_most=BUDGET // len(pairs))
    (row_count,) = connection.execute(f"SELECT count(*) FROM {read}").fetchall()[0]
    share = BUDGET / max(row_count * len(pairs), 1)
    drawn = read if share >= 1 else f"(SELECT * FROM {read} USING SAMPLE {100 * share}% (system, 1))"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE correlated_rows AS {_finite_sql(drawn, numeric)}")
    found = [
        {"day": day, "columns": list(pair), "value": r, "row_count": n}
        for start in range(0, len(pairs), PAIRS_AT_ONCE)
        for day, pair, r, n in _correlations(connection, pairs[start : start + PAIRS_AT_ONCE])
    ]
    types = {"day": pa.date32(), "columns": pa.list_(pa.string()), "value": pa.float64(), "row_count": pa.int64()}
    connection.register("found_correlations", pa.Table.from_pylist(found, pa.schema(types)))
    connection.execute(
        f"INSERT INTO {target} BY NAME SELECT ?::VARCHAR AS baseline_id, 'correlation' AS fact, * FROM found_correlations "
        "QUALIFY abs(median(value) OVER (PARTITION BY columns)) >= ? ORDER BY columns, day",
        [baseline_id, WEAKEST_KEPT],
    )
    connection.unregister("found_correlations")


def copy_first_facts(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, baseline_id: str, first: date, last: date) -> None:
    """Copy the facts of days before the log began to a baseline; only the first baseline has them."""
    target = table(spec, "baseline_facts")
    connection.execute(
        f"INSERT INTO {target} BY NAME SELECT * REPLACE (?::VARCHAR AS baseline_id) FROM {target} WHERE baseline_id = "
        f"(SELECT baseline_id FROM {table(spec, 'baselines')} WHERE sequence = 0) AND day BETWEEN ? AND ? "
        f"AND day NOT IN (SELECT day FROM {target} WHERE baseline_id = ?)",
        [baseline_id, first, last, baseline_id],
    )


def _hours_before_end(spec: MonitorSpec) -> str:
    """SQL: hours from the last event of a day, `last0` in microseconds, to the day's end in the monitor's time zone."""
    return f"(epoch((day + 1)::TIMESTAMP AT TIME ZONE '{spec.time_zone}') - last0 / 1e6) / 3600.0"


def finite(column: str) -> str:
    """SQL for a number, NULL where it is NaN or infinite, which `corr` does not take."""
    return f"CASE WHEN isfinite({quoted(column)}) THEN {quoted(column)} END"


def _finite_sql(rows: str, columns: Sequence[str]) -> str:
    listed = ", ".join(f"{finite(column)} AS {quoted(column)}" for column in columns)
    return f"SELECT day, {listed} FROM {rows}"


def _correlations(connection: duckdb.DuckDBPyConnection, pairs: Sequence[Pair]) -> list[tuple[date, Pair, float, int]]:
    wanted = ", ".join(f"corr({quoted(x)}, {quoted(y)}), regr_count({quoted(x)}, {quoted(y)})" for x, y in pairs)
    found = connection.execute(f"SELECT day, {wanted} FROM correlated_rows GROUP BY day").fetchall()
    return [
        (row[0], pair, row[1 + 2 * place], row[2 + 2 * place])
        for row in found
        for place, pair in enumerate(pairs)
        if row[1 + 2 * place] is not None and row[1 + 2 * place] == row[1 + 2 * place]
    ]
