"""What an operation has changed goes back to the server, in one transaction, or nothing does.

A part of a table (a day, a baseline, or the whole of a small table) is replaced whole. The days that the operation holds are its
own. Any other part is locked now, and must be as it was read: else somebody has changed it since, and the operation has to be
repeated.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from monitoring_assets.errors import WarehouseChanged
from monitoring_assets.shared_warehouse.catalog import Shape, ddl, shapes_of
from monitoring_assets.shared_warehouse.changes import Change, Name, Part, full_name
from monitoring_assets.shared_warehouse.columns import sent
from monitoring_assets.shared_warehouse.locks import lock_parts
from monitoring_assets.shared_warehouse.server import THE_DATABASE, Session
from monitoring_assets.shared_warehouse.unit_of_work import UnitOfWork
from monitoring_assets.sql_text import literal, quoted

if TYPE_CHECKING:
    import pyarrow as pa

# Rows that are on their way at once.
BATCH_ROWS = 50_000
# Who writes the first table must have seen the newest of the second: profiles add up only if they are counted on the same grids.
RESTS_ON = {"daily_profile": "profile_grids", "baseline_profiles": "profile_grids"}
Fingerprints = Mapping[str | None, str]


def store_changes(unit: UnitOfWork, changes: Mapping[Name, Change]) -> None:
    """Put these changes into the database; they are committed there when this returns.

    Raises
    ------
    WarehouseChanged
        When another process has changed the same since it was read.
    WarehouseLocked
        When another process holds one of the days for longer than the operation's patience.
    """
    session = unit.writer()
    session.rollback()
    before = {name: _expected(unit, name, change) for name, change in changes.items()}
    reshaped = {name: change for name, change in changes.items() if change.is_reshaped}
    rewritten = [name for name, change in reshaped.items() if change.is_whole and change.before is not None]
    read = {name: _all_read(unit, name) for name in (*rewritten, *_rested_on(unit, changes))}
    if reshaped:
        unit.see_newest()  # it would wait for itself
    try:
        for monitor in sorted({name[0] for name in changes}):
            _lock(session, unit, monitor, changes, is_reshaping=bool(reshaped))
        for name, known in before.items():
            _require_same(session, name, changes[name].before, known)
        for name in rewritten:
            session.run(f"LOCK TABLE {full_name(name)} IN ACCESS EXCLUSIVE MODE")
        for name, (part, known) in read.items():
            if _fingerprints(session, name, part, None) != known:
                raise _changed(name)
        for name, change in changes.items():
            _write(session, unit, name, change)
        after = {name: _fingerprints(session, name, *_parts_of(change)) for name, change in changes.items() if change.parts}
        session.commit()
    except BaseException:
        session.rollback()
        raise
    if reshaped:
        unit.written.clear()
    else:
        for name, found in after.items():
            unit.written[name] = (
                dict(unit.written.get(name, {})) | {_text(part): "" for part in changes[name].parts} | dict(found)
            )


def _lock(session: Session, unit: UnitOfWork, monitor: str, changes: Mapping[Name, Change], *, is_reshaping: bool) -> None:
    days, parts = set(), set()
    for name, change in changes.items():
        if name[0] != monitor:
            continue
        if change.before is not None and change.before.part == "day":
            days |= {part for part in change.parts if part not in _own(unit, name) and part is not None}
        else:
            parts |= {f"{name[1]} {part}" for part in change.parts}
    lock_parts(session, monitor, days, parts, unit.patience_seconds, shapes=is_reshaping)  # type: ignore[arg-type]


def _own(unit: UnitOfWork, name: Name) -> Collection[Part]:
    return unit.scope.days if name[0] == unit.scope.monitor else ()


def _expected(unit: UnitOfWork, name: Name, change: Change) -> Fingerprints | Shape | None:
    """What the server must still have of a table: its shape where that changes, else the rows of parts that are not our own."""
    if change.is_reshaped or change.before is None:
        return change.before
    parts = [part for part in change.parts if change.before.part != "day" or part not in _own(unit, name)]
    if not parts:
        return {}
    written = unit.written.get(name, {})
    unknown = [part for part in parts if _text(part) not in written]
    found = dict.fromkeys(map(_text, parts), "") | {_text(part): written.get(_text(part), "") for part in parts}
    return found | dict(_fingerprints(unit.snapshot, name, change.before.part, unknown) if unknown else {})


def _require_same(session: Session, name: Name, before: Shape | None, known: Fingerprints | Shape | None) -> None:
    if known is None or isinstance(known, Shape):
        if shapes_of(session, name[0]).get(name[1]) != known:
            raise _changed(name)
        return
    if known and before is not None:
        now = dict.fromkeys(known, "") | dict(_fingerprints(session, name, before.part, list(known)))
        if now != known:
            raise _changed(name)


def _all_read(unit: UnitOfWork, name: Name) -> tuple[str | None, Fingerprints]:
    """The column of a table's parts, and what tells the rows of each, as this operation has read or written them."""
    part = unit.shapes[name[0]][name[1]].part
    found = dict(_fingerprints(unit.snapshot, name, part, None)) | unit.written.get(name, {})
    return part, {key: rows for key, rows in found.items() if rows}


def _rested_on(unit: UnitOfWork, changes: Mapping[Name, Change]) -> list[Name]:
    needed = {(monitor, RESTS_ON[name]) for monitor, name in changes if name in RESTS_ON}
    return [name for name in needed if name not in changes and name in unit.held and name[1] in unit.shapes.get(name[0], {})]


def _write(session: Session, unit: UnitOfWork, name: Name, change: Change) -> None:
    before, after = change.before, change.after
    if before is not None and change.is_whole and after is not None:
        session.run(f"DELETE FROM {full_name(name)}")
    if change.is_reshaped:
        if before is None:
            session.run(f"CREATE SCHEMA IF NOT EXISTS {quoted(name[0])}")
        for sql in ddl(*name, before, after):
            session.run(sql)
    if after is None or not (change.is_whole or change.parts):
        return
    condition = "true" if change.is_whole else _of_parts(after.part, change.parts)
    if not change.is_whole:
        session.run(f"DELETE FROM {full_name(name)} WHERE {condition}")
    session.append(*name, _rows(unit, name, after, condition))


def _rows(unit: UnitOfWork, name: Name, shape: Shape, condition: str) -> "pa.RecordBatchReader":
    columns = ", ".join(sent(column, str(kind)) for column, kind in shape.kinds.items())
    return unit.at_work().sql(f"SELECT {columns} FROM {full_name(name)} WHERE {condition}").to_arrow_reader(BATCH_ROWS)


def _fingerprints(session: Session, name: Name, part: str | None, parts: Collection[Part] | None) -> Fingerprints:
    """What tells the stored rows of each of these parts from any others: where each stands, and which transaction wrote it."""
    rows = session.rows(
        f"SELECT {f'{quoted(part)}::text' if part else 'NULL::text'}, "
        "count(*) || ' ' || sum(hashtextextended(ctid::text || ' ' || xmin::text, 0)) "
        f"FROM {full_name(name)} WHERE {'true' if parts is None else _of_parts(part, parts)} GROUP BY 1"
    )
    return dict(rows)


def _parts_of(change: Change) -> tuple[str | None, Collection[Part]]:
    return (change.after.part if change.after else None), change.parts


def _of_parts(part: str | None, parts: Collection[Part]) -> str:
    """A condition both DuckDB and PostgreSQL understand."""
    if part is None:
        return "true"
    cast = "::DATE" if part == "day" else ""
    listed = ", ".join(f"{literal(str(each))}{cast}" for each in parts if each is not None)
    conditions = [f"{quoted(part)} IN ({listed})"] if listed else []
    conditions += [f"{quoted(part)} IS NULL"] if None in parts else []
    return f"({' OR '.join(conditions)})"


def _text(part: Part) -> str | None:
    return None if part is None else str(part)


def _changed(name: Name) -> WarehouseChanged:
    return WarehouseChanged(
        f"{THE_DATABASE}: another process changed {'.'.join(name)} while it was worked on here, and nothing was stored. "
        "The run is retried; run it again if it was the last try."
    )
