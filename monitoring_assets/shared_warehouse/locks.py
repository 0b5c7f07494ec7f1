"""Who may replace what: advisory locks of the server per monitor and day, and per monitor and part of a table without days.

An operation holds its own days from before it reads to its end. What else it turns out to change it locks when it writes.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from zlib import crc32

from monitoring_assets.errors import WarehouseLocked
from monitoring_assets.shared_warehouse.server import THE_DATABASE, Session

REPORTED_EVERY_SECONDS = 10.0
# An operation on more days than this holds the whole monitor instead: the server has room for some thousand locks.
DAYS_HELD_ONE_BY_ONE = 500
# Keys besides the ordinals of days, which are below 4 million: tables' shapes, all days, and the first of those of parts.
SHAPES, ALL_DAYS, PARTS = 0, 0x3FFFFFFF, 0x40000000


def hold_days(
    session: Session, monitor: str, days: Sequence[date], patience_seconds: float, report: Callable[[str], None]
) -> None:
    """Hold these days of a monitor until the session ends, waiting while another operation does.

    Raises
    ------
    WarehouseLocked
        When they are still held after `patience_seconds`.
    """
    begun = time.monotonic()
    while True:
        waited = time.monotonic() - begun
        slice_seconds = max(0.05, min(REPORTED_EVERY_SECONDS, patience_seconds - waited))
        try:
            _lock(session, "pg_advisory_lock", monitor, days, slice_seconds)
        except WarehouseLocked:
            session.rollback()
            waited = time.monotonic() - begun
            held = f"days of {monitor} in {THE_DATABASE} are held by {_holders(session, monitor, days)}"
            if waited >= patience_seconds:
                raise WarehouseLocked(f"{held}, for {waited:.0f} s. Let it end, or end it, and run this again.") from None
            report(f"{held}; waited {waited:.0f} of at most {patience_seconds:g} s")
        else:
            session.rollback()  # locks of a session outlive its transactions
            return


def lock_parts(
    session: Session, monitor: str, days: Iterable[date], parts: Iterable[str], patience_seconds: float, *, shapes: bool = False
) -> None:
    """Hold these days, and parts of tables without days, until the transaction ends."""
    _lock(session, "pg_advisory_xact_lock", monitor, sorted(days), patience_seconds)
    keys = [SHAPES] if shapes else []
    keys += sorted(PARTS | (crc32(part.encode()) & 0x3FFFFFFF) for part in parts)
    _take(session, "pg_advisory_xact_lock", monitor, keys)


def _lock(session: Session, function: str, monitor: str, days: Sequence[date], patience_seconds: float) -> None:
    session.run(f"SET LOCAL lock_timeout = '{max(1, round(1000 * patience_seconds))}ms'")
    if len(days) > DAYS_HELD_ONE_BY_ONE:
        _take(session, function, monitor, [ALL_DAYS])
    elif days:
        _take(session, f"{function}_shared", monitor, [ALL_DAYS])
        _take(session, function, monitor, sorted(day.toordinal() for day in days))


def _take(session: Session, function: str, monitor: str, keys: Sequence[int]) -> None:
    """One after the other, in this order: who all take them in order never wait in a circle."""
    if keys:
        session.rows(f"SELECT {function}({_class_of(monitor)}, key)::text FROM unnest(ARRAY{list(keys)}) AS key")


def _class_of(monitor: str) -> int:
    return crc32(monitor.encode()) & 0x7FFFFFFF


def _holders(session: Session, monitor: str, days: Sequence[date]) -> str:
    keys = [ALL_DAYS, *(day.toordinal() for day in days)]
    found = session.rows(
        "SELECT DISTINCT application_name, host(client_addr) FROM pg_locks JOIN pg_stat_activity USING (pid) "
        f"WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid() AND classid = {_class_of(monitor)} "
        f"AND objid = ANY(ARRAY{keys}) ORDER BY 1, 2"
    )
    session.rollback()
    return ", ".join(f"{name or 'a session'} on {host or 'its own machine'}" for name, host in found[:3]) or "another process"
