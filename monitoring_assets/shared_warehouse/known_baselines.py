"""The rows of baselines that this process has loaded, for its next operations. A baseline's rows hardly ever change, and are the
most that scoring a day reads; whether they have is asked of the server each time.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from monitoring_assets.shared_warehouse.changes import Name, full_name
from monitoring_assets.shared_warehouse.server import Session
from monitoring_assets.sql_text import literal, quoted

if TYPE_CHECKING:
    import pyarrow as pa

# Tables that are written together when a baseline is made, or a feature's name or kind changes.
MADE_TOGETHER = ("baseline_profiles", "baseline_sample", "baseline_facts")
# Bytes that are kept: some ten baselines of a year's reference.
KEPT_BYTES = 64_000_000

Key = tuple[str, str, Name, str, str]  # address, schema, table, baseline, which of its rows
_KNOWN: "OrderedDict[Key, tuple[object, pa.Table]]" = OrderedDict()
_LOCK = threading.Lock()


def known_or_loaded(key: Key, state: object, load: "Callable[[], pa.Table]") -> "pa.Table":
    """What was loaded under this key in this state, else what `load` gives, kept for the next time."""
    with _LOCK:
        found = _KNOWN.get(key)
        if found is not None and found[0] == state:
            _KNOWN.move_to_end(key)
            return found[1]
    rows = load()
    with _LOCK:
        _KNOWN[key] = (state, rows)
        while sum(kept.nbytes for _, kept in _KNOWN.values()) > KEPT_BYTES and len(_KNOWN) > 1:
            _KNOWN.popitem(last=False)
    return rows


def state_of(session: Session, monitor: str, baseline_id: str) -> object:
    """What tells the stored rows of a baseline from any others: where its profiles stand, and which transaction wrote them."""
    rows = session.rows(
        f"SELECT count(*), sum(hashtextextended(ctid::text || ' ' || xmin::text, 0))::text "
        f"FROM {full_name((monitor, MADE_TOGETHER[0]))} WHERE {quoted('baseline_id')} = {literal(baseline_id)}"
    )
    return rows[0]
