"""A monitor's history when its features change: none of it is lost, and each change is reported once.

removed : its column stays in `inference_log`, empty from now on, and its profiles and scores stay.
added : days stored before have it missing.
renamed (`renamed_from`) : values, profiles, grids, thresholds and scores go on under the new name.
of another kind : values are converted where each of them can be, else kept in a column `NAME__OLD_KIND`; what was counted under
    the old kind is set aside under that name.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

import duckdb

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.sql_text import literal, quoted, stored_table, table

Columns = Mapping[str, tuple[str, str | None]]  # column -> (type, comment)

# Tables with a column per feature; in all others a feature is a value.
ROW_TABLES = ("inference_log", "daily_sample", "baseline_sample")
# Tables whose old rows say nothing of a feature whose kind has changed.
COUNTED_TABLES = ("daily_profile", "baseline_profiles", "profile_grids", "thresholds")
KIND_OF_TYPE = {"DOUBLE": "numeric", "VARCHAR": "categorical"}
UNASKED = "not asked for any more"

NUMBER_AS_TEXT = (
    "CASE WHEN isnan({c}) THEN NULL WHEN {c} = trunc({c}) AND abs({c}) < 1e15 THEN CAST(CAST({c} AS BIGINT) AS VARCHAR) "
    "ELSE CAST({c} AS VARCHAR) END"
)


def change_features(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, present: Mapping[str, Columns]) -> list[str]:
    """Bring what is stored of the features to what the spec declares, and say what was done. Call it inside a transaction.

    `present` holds the columns of the monitor's tables, their names in lower case. Repeating it changes nothing.
    """
    log = dict(present.get("inference_log", {}))
    if not log:
        return []
    said: list[str] = []
    for name, feature in spec.features.items():
        old = feature.renamed_from
        if old is not None and old.casefold() in log and name.casefold() not in log:
            for sql in _renaming(spec, present, old, name):
                connection.execute(sql)
            _rename_in_files(connection, spec, present, old, name)
            log[name.casefold()] = log.pop(old.casefold())
            said.append(
                f"feature {old!r} is now called {name!r}: its values, profiles, thresholds and scores go on under that name"
            )
    for name in spec.features:
        kind = spec.log_columns[name]
        stored, comment = log.get(name.casefold(), (None, None))
        if stored is None:
            said.append(f"feature {name!r} is new: days stored before have it missing; {_until_the_baseline_has_it(spec)}")
        elif stored != kind and stored in KIND_OF_TYPE:
            said.append(_change_kind(connection, spec, present, name, stored, kind))
        elif comment and UNASKED in comment:
            connection.execute(f"COMMENT ON COLUMN {stored_table(spec, 'inference_log')}.{quoted(name)} IS NULL")
            said.append(f"feature {name!r} is asked for again: the days in between have it missing")
    known = {column.casefold() for column in ("day", *spec.log_columns)}
    for column, (_, comment) in log.items():
        if column not in known and "__" not in column and not (comment and UNASKED in comment):
            meaning = literal(f"column {column!r} of the log, {UNASKED}")
            connection.execute(f"COMMENT ON COLUMN {stored_table(spec, 'inference_log')}.{quoted(column)} IS {meaning}")
            said.append(f"column {column!r} is {UNASKED}: it stays in inference_log, empty from now on, and its history stays")
    return said


def record_changes(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, said: Sequence[str]) -> None:
    """Keep what was said, until an asset has shown it; what waits for that already is not kept twice."""
    target = table(spec, "feature_changes")
    for change in said:
        connection.execute(
            f"INSERT INTO {target} BY NAME SELECT now() AS changed_at, ?::VARCHAR AS change "
            f"WHERE NOT EXISTS (FROM {target} WHERE change = ? AND shown_by IS NULL)",
            [change, change],
        )


def changes_to_show(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, asset: str) -> list[str]:
    """What was done to features and no asset has shown yet, in order; from now on this asset has."""
    target = table(spec, "feature_changes")
    found = connection.execute(f"SELECT change FROM {target} WHERE shown_by IS NULL ORDER BY changed_at, change").fetchall()
    if found:
        connection.execute(f"UPDATE {target} SET shown_by = ? WHERE shown_by IS NULL", [asset])
    return [change for (change,) in found]


def changes_so_far(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> list[str]:
    """All that was ever done to features, each with its day in the monitor's time zone, newest first."""
    day = f"(changed_at AT TIME ZONE '{spec.time_zone}')::DATE"
    found = connection.execute(
        f"SELECT {day}, change FROM {table(spec, 'feature_changes')} ORDER BY changed_at DESC, change"
    ).fetchall()
    return [f"{day}: {change}" for day, change in found]


def _renaming(spec: MonitorSpec, present: Mapping[str, Columns], old: str, new: str) -> Iterator[str]:
    for name in ROW_TABLES:
        if old.casefold() in present.get(name, {}):
            yield f"ALTER TABLE {stored_table(spec, name)} RENAME COLUMN {quoted(old)} TO {quoted(new)}"
    yield f"COMMENT ON COLUMN {stored_table(spec, 'inference_log')}.{quoted(new)} IS NULL"
    before, after = literal(old), literal(new)
    for name, columns in present.items():
        if "feature" in columns:
            yield f"UPDATE {table(spec, name)} SET feature = {after} WHERE feature = {before}"
        if "segment" in columns:
            start = literal(f"{old}=")
            yield (
                f"UPDATE {table(spec, name)} SET segment = {literal(f'{new}=')} || substr(segment, {len(old) + 2}) "
                f"WHERE starts_with(segment, {start})"
            )
        if "columns" in columns:
            renamed = f"list_transform(columns, lambda c: CASE WHEN c = {before} THEN {after} ELSE c END)"
            yield f"UPDATE {table(spec, name)} SET columns = {renamed} WHERE list_contains(columns, {before})"
    if "column_name" in present.get("quality", {}):
        parts = "string_split(column_name, ' ~ ')"
        renamed = f"list_transform({parts}, lambda c: CASE WHEN c = {before} THEN {after} ELSE c END)"
        yield (
            f"UPDATE {table(spec, 'quality')} SET column_name = array_to_string({renamed}, ' ~ ') "
            f"WHERE list_contains({parts}, {before})"
        )


def _rename_in_files(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, present: Mapping[str, Columns], old: str, new: str
) -> bool:
    """Where rows are kept in files, let what they hold under the old name be found under the new one. Whether any file has it."""
    if "row_files" not in present:
        return False
    record, is_renamed = stored_table(spec, "row_files"), False
    written = connection.execute(f"SELECT DISTINCT file_columns FROM {record} WHERE table_name = 'inference_log'").fetchall()
    for (columns,) in written:
        names = json.loads(columns)
        if old in names:
            names[new] = names.pop(old)
            renamed = json.dumps(names, ensure_ascii=False)
            connection.execute(f"UPDATE {record} SET file_columns = ? WHERE file_columns = ?", [renamed, columns])
            is_renamed = True
    return is_renamed


def _change_kind(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, present: Mapping[str, Columns], name: str, old: str, new: str
) -> str:
    """Convert a feature's stored values where each of them can be, and set aside what was counted of them."""
    column, aside = quoted(name), f"{name}__{KIND_OF_TYPE[old]}"
    converted = NUMBER_AS_TEXT.format(c=column) if new == "VARCHAR" else f"TRY_CAST({column} AS DOUBLE)"
    (lost,) = connection.execute(
        f"SELECT count(*) FROM {stored_table(spec, 'inference_log')} WHERE {column} IS NOT NULL AND ({converted}) IS NULL"
        + (f" AND NOT isnan({column})" if old == "DOUBLE" else "")
    ).fetchall()[0]
    if _rename_in_files(connection, spec, present, name, aside):
        lost = lost or None  # the files stay as they are
    for target in ROW_TABLES:
        if name.casefold() not in present.get(target, {}):
            continue
        if lost != 0:
            connection.execute(f"ALTER TABLE {stored_table(spec, target)} RENAME COLUMN {column} TO {quoted(aside)}")
            connection.execute(f"ALTER TABLE {stored_table(spec, target)} ADD COLUMN {column} {new}")
        else:
            converting = f"ALTER COLUMN {column} SET DATA TYPE {new} USING {converted}"
            connection.execute(f"ALTER TABLE {stored_table(spec, target)} {converting}")
    for target in COUNTED_TABLES:
        if target in present:
            connection.execute(f"UPDATE {table(spec, target)} SET feature = {literal(aside)} WHERE feature = {literal(name)}")
    if "baseline_facts" in present:
        renamed = f"list_transform(columns, lambda c: CASE WHEN c = {literal(name)} THEN {literal(aside)} ELSE c END)"
        connection.execute(
            f"UPDATE {table(spec, 'baseline_facts')} SET columns = {renamed} WHERE list_contains(columns, {literal(name)})"
        )
    kept = "its values were converted"
    if lost is None:
        kept = f"its values so far are kept in the column {aside!r}"
    elif lost:
        kept = f"{lost:,} of its values cannot be converted, and all are kept in the column {aside!r}"
    return (
        f"feature {name!r} is now {KIND_OF_TYPE[new]}, no longer {KIND_OF_TYPE[old]}: {kept}; its profiles and thresholds are "
        f"set aside as {aside!r}; {_until_the_baseline_has_it(spec)}"
    )


def _until_the_baseline_has_it(spec: MonitorSpec) -> str:
    return (
        "its data quality is monitored at once, and its drift is not judged before the reference has values of it: replace the "
        f"reference file, or name days of the log that have it, then materialise {spec.name}/reference_baseline"
    )
