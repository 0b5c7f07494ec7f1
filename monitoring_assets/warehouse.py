"""The DuckDB warehouse: one file, one schema per monitor, declared tables, a day replaced in one transaction.

Connections are short, because a DuckDB writer blocks every other process. What a table means is told by its columns' comments
below, which are an interface: analysts query them. Nothing here knows statistics, sources or Dagster.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import tenacity

from monitoring_assets.errors import WarehouseLocked, WarehouseMismatch
from monitoring_assets.monitor_spec import MonitorSpec

if TYPE_CHECKING:
    import pandas as pd

PROFILE_COLUMNS = {
    "day": ("DATE", "day of the predictions, in the monitor's time zone"),
    "segment": ("VARCHAR", "'column=value', or NULL for all rows"),
    "feature": ("VARCHAR", "column that was profiled"),
    "kind": ("VARCHAR", "numeric or categorical"),
    "row_count": ("BIGINT", "rows of the day, missing ones included, whatever their weight"),
    "squared_weight": (
        "DOUBLE",
        "sum of the rows' squared weights, row_count where they have none: (sum of weights)² / this are the effective rows",
    ),
    "null_count": ("DOUBLE", "rows where the value is NULL; this and the other counts are sums of weights where rows have one"),
    "nan_count": ("DOUBLE", "rows where the value is not a number (NaN)"),
    "infinite_count": ("DOUBLE", "rows where the value is infinite"),
    "minimum": ("DOUBLE", "smallest finite value, NULL for categories"),
    "maximum": ("DOUBLE", "largest finite value, NULL for categories"),
    "is_exact": ("BOOLEAN", "whether every bin is a single value; for categories whether all have their name"),
    "bins": ("DOUBLE[]", "numeric: lower edge of each bin that holds rows"),
    "uppers": (
        "DOUBLE[]",
        "numeric: upper edge, not part of the bin; the same as the lower one where the bin is that value only",
    ),
    "categories": ("VARCHAR[]", "categorical: the categories that hold rows, and buckets of rare ones, which start with U+001F"),
    "counts": ("DOUBLE[]", "rows per bin or category, in the same order"),
}

# Tables every monitor has, besides `inference_log` and the samples, whose columns are the monitor's own:
# name -> column -> (type, meaning).
TABLES: dict[str, dict[str, tuple[str, str]]] = {
    "quarantine": {
        "day": ("DATE", "partition that delivered the row"),
        "asset": ("VARCHAR", "inference_log or labels"),
        "source": ("VARCHAR", "file the row came from, or the query or function and its day"),
        "reason": ("VARCHAR", "rule that was broken, with the column and the value"),
        "original": (
            "VARCHAR",
            "the row as delivered, as JSON, a broken line as a JSON text; NULL where no row could be read",
        ),
    },
    "deliveries": {
        "day": ("DATE", "partition"),
        "asset": ("VARCHAR", "inference_log or labels"),
        "delivered_rows": ("BIGINT", "rows the source held for the day = accepted + quarantined"),
        "accepted_rows": ("BIGINT", "rows stored in the table"),
        "quarantined_rows": ("BIGINT", "rows in quarantine"),
        "unreadable": ("VARCHAR", "why the source could not be read; the stored day was then left as it was"),
        "sources": ("VARCHAR[]", "files the stored rows came from"),
        "other_columns": ("VARCHAR[]", "columns of those files that the monitor does not ask for"),
    },
    "arrivals": {
        "asset": ("VARCHAR", "inference_log or labels"),
        "path": ("VARCHAR", "file of the source"),
        "day": ("DATE", "day it is of, or holds rows of; NULL where it holds none, or cannot be read"),
        "size_bytes": ("BIGINT", "its size when it was last looked at"),
        "modified_ns": ("BIGINT", "when it was last modified then, in ns since 1970"),
        "is_read": ("BOOLEAN", "whether the day has been read from it since; a failed attempt counts if the file is to blame"),
    },
    "serving": {
        "day": ("DATE", "day of the predictions; only monitors with `serving` have such rows"),
        "requests": ("DOUBLE", "requests that the logged rows stand for: the sum of their weights, or the rows"),
        "logged_rows": ("BIGINT", "rows of the day in inference_log"),
        "errors": ("BIGINT", "of which an error was logged"),
        "error_rate": ("DOUBLE", "share of the requests that ended in an error; NULL where errors are not logged"),
        "latency_p50_ms": ("DOUBLE", "latency that half of the requests did not exceed, in ms; NULL where it is not logged"),
        "latency_p95_ms": ("DOUBLE", "latency that 95 % of the requests did not exceed, in ms"),
        "latency_p99_ms": ("DOUBLE", "latency that 99 % of the requests did not exceed, in ms"),
        "dropped_rows": ("BIGINT", "rows the prediction logger could not keep on that day, by its own notes beside the log"),
    },
    "labels": {
        "day": ("DATE", "day of the prediction"),
        "prediction_id": ("VARCHAR", "id of the prediction in inference_log"),
        "label": ("DOUBLE", "ground truth; NULL where it will never be known"),
    },
    "profile_grids": {
        "feature": ("VARCHAR", "column"),
        "lowers": ("DOUBLE[]", "numeric: lower end of each range of cells, the whole range first; empty where counted by value"),
        "uppers": ("DOUBLE[]", "numeric: upper end of each range"),
        "scales": ("DOUBLE[]", "numeric: cells per unit of each range"),
        "atoms": ("DOUBLE[]", "numeric: further single values with a bin of their own"),
        "starts": ("INTEGER[]", "numeric: first cell of each bin"),
        "categories": ("VARCHAR[]", "categorical: the categories that keep their name on crowded days; NULL for numeric columns"),
        "bin_lower": ("DOUBLE", "lower edge of the bin this finer grid divides; NULL for the column's first grid"),
        "bin_upper": ("DOUBLE", "upper edge of that bin, not part of it"),
    },
    "daily_profile": PROFILE_COLUMNS,
    "baseline_profiles": {"baseline_id": ("VARCHAR", "baseline the day belongs to")} | PROFILE_COLUMNS,
    "baselines": {
        "baseline_id": ("VARCHAR", "digest of the baseline's content"),
        "sequence": ("INTEGER", "order of creation; of two that are valid the later counts"),
        "valid_from": ("DATE", "first day scored against it"),
        "first_day": ("DATE", "first day of its data"),
        "last_day": ("DATE", "last day of its data"),
        "row_count": ("BIGINT", "rows behind it"),
        "model_version": ("VARCHAR", "champion it belongs to, NULL before the first"),
        "metric": ("VARCHAR", "auc or rmse"),
        "metric_value": ("DOUBLE", "the champion's cross-validated metric on the baseline's rows"),
    },
    "baseline_facts": {
        "baseline_id": ("VARCHAR", "baseline the day belongs to"),
        "day": ("DATE", "day of its data"),
        "fact": ("VARCHAR", "correlation (of two numeric features), or hours_before_end (from the last event to the day's end)"),
        "columns": ("VARCHAR[]", "the columns it is about"),
        "value": ("DOUBLE", "Pearson's r, or hours"),
        "row_count": ("BIGINT", "rows it was computed from"),
    },
    "thresholds": {
        "baseline_id": ("VARCHAR", "baseline it was calibrated from"),
        "segment": ("VARCHAR", "'column=value', or NULL for all rows"),
        "feature": ("VARCHAR", "column that is compared, or '(all features)'"),
        "method": ("VARCHAR", "method of drift_scores"),
        "window_days": ("INTEGER", "days in the window"),
        "reference": ("VARCHAR", "what the window is compared with: baseline, same_weekday or previous_window"),
        "reference_rows": ("BIGINT", "effective rows of the baseline: its rows, fewer where they are weighted"),
        "noise_rows": (
            "DOUBLE[]",
            "effective rows n N / (n + N), for each of which `noise` holds a value",
        ),
        "noise": ("DOUBLE[]", "effect that sampling noise alone exceeds at the allowed rate"),
        "day_to_day": ("DOUBLE", "effect that the baseline's day-to-day variation exceeds at the allowed rate, at any rows"),
        "over_dispersion": ("DOUBLE", "mean squared effect of the baseline's windows left out, / what sampling alone gives"),
        "degrees": ("DOUBLE", "degrees of freedom of the day-to-day tail; low: rest on most days, far out on some"),
        "effective_windows": ("DOUBLE", "independent windows the day-to-day part rests on, 0 where it is not estimated"),
        "confidence": ("VARCHAR", "how sure the threshold is, and why"),
    },
    "drift_scores": {
        "day": ("DATE", "last day of the window"),
        "window_days": ("INTEGER", "days in the window"),
        "segment": ("VARCHAR", "'column=value', or NULL for all rows"),
        "feature": ("VARCHAR", "column that was compared, or '(all features)'"),
        "reference": ("VARCHAR", "what the window is compared with: baseline, same_weekday or previous_window"),
        "method": ("VARCHAR", "psi, ks, js, wasserstein, chi2, missingness or another of `monitor_spec.Method`"),
        "score": ("DOUBLE", "value of the method, NaN where undefined"),
        "p_value": ("DOUBLE", "where the method has one"),
        "threshold": ("DOUBLE", "what the score must exceed to count as drifted"),
        "excess": ("DOUBLE", "how many times its threshold the change is, in effects: 1 at the threshold; NaN without one"),
        "severity": ("VARCHAR", "ok, minor, moderate or severe; NULL where undefined"),
        "change": (
            "VARCHAR",
            "beyond the threshold: missing, new category, shift, shape, or relation (of all features together)",
        ),
        "reference_rows": ("BIGINT", "rows of what it is compared with"),
        "current_rows": ("BIGINT", "rows of the window"),
        "baseline_id": ("VARCHAR", "baseline in force on the day"),
        "score_error_bound": ("DOUBLE", "how far binning can have moved the score, 0 where it is exact"),
        "reason": ("VARCHAR", "why there is no score"),
        "detail": ("VARCHAR", "of all features together: what inside moved most; NULL for the score of one column"),
    },
    "drift_verdicts": {
        "day": ("DATE", "last day of the windows judged"),
        "severity": ("VARCHAR", "the worst of the day's scores of all rows; NULL where nothing could be scored"),
        "drifted_columns": ("INTEGER", "columns with a score beyond its threshold"),
        "scored_columns": ("INTEGER", "columns with any score"),
        "columns": ("VARCHAR[]", "the columns that moved, the one furthest beyond its threshold first"),
        "reason": ("VARCHAR", "what moved and how, or why nothing was scored"),
    },
    "quality": {
        "day": ("DATE", "day of the rows"),
        "kind": ("VARCHAR", "not_null, in_range or another of `quality.expectations.Kind`; the Dagster check has its name"),
        "expectation": ("VARCHAR", "the rule in Great Expectations' vocabulary"),
        "column_name": ("VARCHAR", "column it is about, two joined by ' ~ ' for a pair, NULL for the day as a whole"),
        "severity": ("VARCHAR", "ok, minor, moderate or severe"),
        "observed": ("DOUBLE", "share of unexpected rows, or the rows, hours, correlation or statistic that was judged"),
        "expected": ("VARCHAR", "the rule in words"),
        "unexpected_count": ("BIGINT", "rows that break the rule; of a rule about the whole day 1 where it is broken, else 0"),
        "unexpected_share": ("DOUBLE", "the same, as a share of the day's rows, or 1 or 0"),
        "samples": ("VARCHAR[]", "unexpected values, most frequent first; for not_null the ids of such rows"),
        "baseline_id": ("VARCHAR", "baseline the rule was learnt from; NULL where there was none yet"),
    },
    "performance": {
        "day": ("DATE", "day of the predictions"),
        "segment": ("VARCHAR", "'column=value', or NULL for all rows"),
        "metric": ("VARCHAR", "auc, accuracy, f1, log_loss; or rmse, mae, r2"),
        "value": ("DOUBLE", "NaN where undefined"),
        "row_count": ("BIGINT", "predictions of the day"),
        "labelled_rows": ("BIGINT", "of which the label is known"),
        "reason": ("VARCHAR", "why there is no value"),
    },
    "alerts": {
        "day": ("DATE", "day the finding is about"),
        "subject": ("VARCHAR", "drift or performance"),
        "severity": ("VARCHAR", "minor, moderate or severe"),
        "message": ("VARCHAR", "what was found"),
        "route": ("VARCHAR", "environment variable that names the receiver"),
        "delivered": ("BOOLEAN", "whether the receiver took it; if not, the next finding is sent with it"),
        "reason": ("VARCHAR", "why it was not delivered"),
    },
    "retrain_decisions": {
        "decision_id": ("VARCHAR", "digest of the evidence"),
        "day": ("DATE", "newest day of the evidence"),
        "retrain": ("BOOLEAN", "whether a candidate was asked for"),
        "reason": ("VARCHAR", "why, or why not"),
        "evidence": ("VARCHAR", "what the policy saw, as JSON"),
        "candidate_version": ("VARCHAR", "registered model version that came of it"),
        "verdict": ("VARCHAR", "promoted or refused, NULL until the gate has spoken"),
        "verdict_reason": ("VARCHAR", "what the gate measured"),
    },
}

LOCK_PATIENCE_SECONDS = 60.0
# What DuckDB says when another process has the file, on POSIX and on Windows. "lock" alone would match "block" as well.
LOCK_MESSAGES = ("Could not set lock", "Conflicting lock", "being used by another process")

# How DuckDB itself spells types that are declared by a shorter name.
TYPE_NAMES = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}


def quoted(identifier: str) -> str:
    """An identifier, safe to stand in SQL.

    >>> quoted('a "b"')
    '"a ""b""\"'
    """
    return '"' + identifier.replace('"', '""') + '"'


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All that happens inside succeeds, or nothing happened."""
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        # A failed ROLLBACK means that DuckDB has rolled back already; the error worth telling is the one that came first.
        with suppress(duckdb.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@dataclass(frozen=True)
class Warehouse:
    """The warehouse file. Creating the object touches nothing; the file appears with the first connection."""

    path: Path
    patience_seconds: float = LOCK_PATIENCE_SECONDS

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection, closed at the end. Waits while another process holds the file.

        Raises
        ------
        WarehouseLocked
            When the file is still held after `patience_seconds`.
        """
        connection = self._patiently(lambda: duckdb.connect(str(self.path)))
        try:
            connection.execute("SET enable_progress_bar = false")
            yield connection
        finally:
            connection.close()

    def _patiently(self, connect: Callable[[], duckdb.DuckDBPyConnection]) -> duckdb.DuckDBPyConnection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_lock),
            wait=tenacity.wait_random_exponential(multiplier=0.02, max=1.0),
            stop=tenacity.stop_after_delay(self.patience_seconds),
            reraise=True,
        )
        try:
            return retrying(connect)
        except duckdb.IOException as error:
            if not _is_lock(error):
                raise
            raise WarehouseLocked(
                f"{self.path} has been held by another process for {self.patience_seconds:g} s: {str(error).splitlines()[0]} "
                "Close the program that has it open (a DuckDB shell, a notebook) and run this again."
            ) from None

    def query(self, sql: str, parameters: Sequence[object] = ()) -> "pd.DataFrame":
        """The result of one query as a frame."""
        with self.connect() as connection:
            return connection.execute(sql, parameters).df()


def _is_lock(error: BaseException) -> bool:
    return isinstance(error, duckdb.IOException) and any(text in str(error) for text in LOCK_MESSAGES)


def tables_of(spec: MonitorSpec) -> dict[str, dict[str, tuple[str, str]]]:
    """All tables of a monitor, its own `inference_log` first: name -> column -> (DuckDB type, meaning)."""
    log = {"day": ("DATE", "day of the event in the monitor's time zone")}
    log |= {name: (kind, f"column {name!r} of the log") for name, kind in spec.log_columns.items()}
    return {"inference_log": log} | TABLES | _sample_tables(spec)


def _sample_tables(spec: MonitorSpec) -> dict[str, dict[str, tuple[str, str]]]:
    types = spec.log_columns
    sample = {
        "day": ("DATE", "day of the predictions, in the monitor's time zone"),
        "sample_key": (
            "DOUBLE",
            "-ln(hash of the id) / weight; each day keeps the rows with the smallest, and so do merged days",
        ),
    } | {name: (types[name], f"feature {name!r} of the row") for name in spec.features}
    return {
        "daily_sample": sample,
        "baseline_sample": {"baseline_id": ("VARCHAR", "baseline the day belongs to")} | sample,
    }


def ensure_tables(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> None:
    """Make the monitor's schema and tables where they do not exist, and add columns the spec has gained.

    Raises
    ------
    WarehouseMismatch
        When a column exists with another type, or the file is called like the monitor.
    """
    found = connection.execute(
        "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() "
        "WHERE schema_name = ? AND database_name = current_database() AND NOT internal",
        [spec.name],
    ).fetchall()
    present: dict[str, dict[str, tuple[str, str | None]]] = {}
    for name, column, kind, comment in found:
        present.setdefault(name, {})[column.casefold()] = (kind, comment)
    changes = [sql for name, columns in tables_of(spec).items() for sql in _changes(spec, name, columns, present.get(name))]
    if changes:
        _refuse_ambiguous_name(connection, spec)
        with transaction(connection):
            for sql in (f"CREATE SCHEMA IF NOT EXISTS {quoted(spec.name)}", *changes):
                connection.execute(sql)


def _changes(
    spec: MonitorSpec, name: str, columns: dict[str, tuple[str, str]], present: dict[str, tuple[str, str | None]] | None
) -> Iterator[str]:
    """The statements that bring one table to its declaration. None is given where nothing is to do."""
    target = table(spec, name)
    if present is None:
        yield f"CREATE TABLE IF NOT EXISTS {target} ({', '.join(f'{quoted(c)} {kind}' for c, (kind, _) in columns.items())})"
    for column, (kind, meaning) in columns.items():
        stored, comment = (present or {}).get(column.casefold(), (None, None))
        if present is not None and stored is None:
            yield f"ALTER TABLE {target} ADD COLUMN IF NOT EXISTS {quoted(column)} {kind}"
        elif stored is not None and stored != TYPE_NAMES.get(kind, kind):
            raise WarehouseMismatch(
                f"column {column!r} of {spec.name}.{name} holds {stored}, but the monitor now declares {kind}. "
                "Give the monitor a new name, or take its old kind back."
            )
        if comment is None:
            yield f"COMMENT ON COLUMN {target}.{quoted(column)} IS '{meaning.replace(chr(39), chr(39) * 2)}'"


def _refuse_ambiguous_name(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> None:
    """DuckDB cannot tell `name.table` from `schema.table` when the file has the name of a schema."""
    database = connection.execute("SELECT current_database()").fetchone()
    if database and database[0].casefold() == spec.name:
        raise WarehouseMismatch(
            f"the monitor {spec.name!r} has the name of the warehouse file, which SQL cannot tell apart; rename the monitor"
        )


def table(spec: MonitorSpec, name: str) -> str:
    """The quoted, schema-qualified name of a monitor's table."""
    return f"{quoted(spec.name)}.{quoted(name)}"


def replace_days(
    connection: duckdb.DuckDBPyConnection, target: str, days: Sequence[date], rows_sql: str, where: str = "true"
) -> None:
    """Put the rows of a query in the place of all rows of those days. Call it inside a transaction.

    `where` narrows what is replaced, for tables that several assets write to.
    """
    connection.execute(f"DELETE FROM {target} WHERE day IN (SELECT unnest(?::DATE[])) AND {where}", [list(days)])
    connection.execute(f"INSERT INTO {target} BY NAME {rows_sql}")
