"""`measure`: a batch of a day's rows as small tables, and `merge`: the tables of several batches as those of all their rows.

Everything after this works on these tables and never sees a row. Merging is exact and free of order: any division of the rows
into batches gives the same tables, bit for bit. Only rows of one id must not be divided, where an id may come twice: which of
them is accepted is decided before (`ingestion/`), among rows that lie together. On one machine a day is one batch; where it is
several, rows are divided by id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from monitoring_assets.measuring.delivered import accepted_sql, added_delivered, delivered
from monitoring_assets.measuring.grid import Grid, NumericGrid
from monitoring_assets.measuring.kernel import added_finer, count_within, profiles
from monitoring_assets.measuring.labelled import added_labelled, labelled
from monitoring_assets.measuring.model_versions import rows_by_version, version_segments
from monitoring_assets.measuring.profile_sums import added_profiles
from monitoring_assets.measuring.ruled import Rule, added_ruled, ruled
from monitoring_assets.measuring.sample import added_samples, samples
from monitoring_assets.measuring.served import added_served, served
from monitoring_assets.measuring.watched import watched_rows
from monitoring_assets.monitor_spec import CONFIDENCE, MonitorSpec

# Name -> table. Amounts of rows are exact decimals where rows have weights; the warehouse keeps them as DOUBLE.
Tables = dict[str, pa.Table]


@dataclass(frozen=True)
class Wanted:
    """What is to be measured: a profile where there are grids, a sample, how predictions were served, predictions with their
    labels (the rows then have what `labelled.labelled` asks for), and how rows stand to the rules at some places of a list.

    With `by_version` predictions are also counted by the model version that the log names.

    `delivered` asks how rows stand to the contract, and names the columns that a reason may name. The rows then are what a
    source delivered, each judged (`delivered.delivered`), and everything else is measured of the accepted ones. `finer` are bins
    to be divided, as `kernel.count_within` takes them.
    """

    grids: Mapping[str, Grid] = field(default_factory=dict)
    sample: bool = False
    serving: bool = False
    labelled: bool = False
    rules: Mapping[int, Rule] | None = None
    delivered: Sequence[str] | None = None
    finer: Sequence[tuple[str, tuple[float, float], NumericGrid]] = ()
    by_version: bool = False

    @property
    def asks_for_confidence(self) -> bool:
        return CONFIDENCE in (*self.grids, *(column for column, _, _ in self.finer))


def measure(connection: duckdb.DuckDBPyConnection, rows: str, spec: MonitorSpec, wanted: Wanted) -> Tables:
    """The tables of a relation that holds `day` and the columns of the monitor's log."""
    found: Tables = {}
    if wanted.delivered is not None:
        found |= delivered(connection, rows, wanted.delivered)
        rows = accepted_sql(rows)
    watched = watched_rows(spec, rows, with_confidence=wanted.asks_for_confidence)
    if wanted.grids:
        found |= _profiles(connection, watched, spec, wanted.grids, wanted.by_version)
    if wanted.sample:
        found["sample"] = samples(connection, watched, spec.id, list(spec.features), spec.sampling_weight)
    if wanted.serving:
        found |= served(connection, rows, spec)
    if wanted.labelled:
        found |= labelled(connection, rows, spec)
    if wanted.rules is not None:
        found |= ruled(connection, rows, spec, wanted.rules)
    if wanted.finer:
        found["finer"] = _finer(connection, watched, spec, wanted)
    return found


def merge(connection: duckdb.DuckDBPyConnection, batches: Sequence[Tables], spec: MonitorSpec, wanted: Wanted) -> Tables:
    """The tables of all rows, from what `measure` gave of each batch."""
    if len(batches) == 1:
        return batches[0]
    names = dict.fromkeys(name for batch in batches for name in batch)
    together = {
        name: pa.concat_tables([batch[name] for batch in batches if name in batch], promote_options="permissive")
        for name in names
    }
    found: Tables = {}
    weighted = spec.sampling_weight is not None
    for name in ("profile", "version_profile"):
        if name in together:
            found[name] = added_profiles(connection, together[name], wanted.grids, weighted=weighted)
    if "sample" in together:
        found["sample"] = added_samples(connection, together["sample"])
    if "served" in together:
        found |= added_served(connection, together)
    if "labelled" in together:
        found |= added_labelled(connection, together, spec)
    if "ruled" in together:
        found |= added_ruled(connection, together)
    if "delivered" in together:
        found |= added_delivered(connection, together)
    if "finer" in together:
        found["finer"] = added_finer(connection, together["finer"])
    return found


def _profiles(
    connection: duckdb.DuckDBPyConnection, rows: str, spec: MonitorSpec, grids: Mapping[str, Grid], by_version: bool
) -> Tables:
    """The profile of every column, and that of the predictions of each model version where the log names versions."""
    columns = {name: spec.watched_columns[name] for name in grids}
    predictions = {name: columns[name] for name in spec.prediction.watched if name in columns}
    profile = profiles(connection, rows, columns, grids, spec.segments, spec.sampling_weight)
    found = {} if profile is None else {"profile": profile}
    versions = version_segments(spec) if by_version else []
    if found and versions:
        versioned = rows_by_version(spec, rows)
        apart = profiles(connection, versioned, predictions, grids, versions, spec.sampling_weight, of_all_rows=False)
        found |= {} if apart is None else {"version_profile": apart}
    return found


def _finer(connection: duckdb.DuckDBPyConnection, rows: str, spec: MonitorSpec, wanted: Wanted) -> pa.Table:
    segments = list(spec.segments)
    if wanted.by_version:
        rows, segments = rows_by_version(spec, rows), segments + version_segments(spec)
    return added_finer(connection, count_within(connection, rows, wanted.finer, segments, spec.sampling_weight))
