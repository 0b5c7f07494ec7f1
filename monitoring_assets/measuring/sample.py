"""A bounded sample of each day's rows, kept beside the profiles, for what counts per column cannot tell: how columns go together.

A row's key is −ln(u) / w, u in (0, 1) a hash of its id and w its weight; a day keeps the rows with the smallest keys. That is
a weighted sample without replacement (Efraimidis and Spirakis 2006), the same in every process, and it merges: the smallest
keys of two samples are those of all rows behind them. What is computed from samples is not known here.
"""

from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa

from monitoring_assets.warehouse import quoted

# A correlation of 1,000 rows is known to ± 0.03, and a year of such days (13 features) is read in half a second.
SAMPLE_ROWS = 1_000


def samples(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    key_column: str,
    columns: Sequence[str],
    weight: str | None = None,
    size: int = SAMPLE_ROWS,
) -> pa.Table:
    """The sample of every day of a relation: `day`, `sample_key`, the columns and the weight, the smallest key first.

    Parameters
    ----------
    rows
        A table or parenthesised query with `day`, the columns named, and `key_column`, the id that tells rows of a day apart.
    weight
        Column that says how many rows each row stands for. Rows of weight 0 are never drawn.
    size
        Rows kept per day.

    Examples
    --------
    >>> connection = duckdb.connect()
    >>> rows = "(SELECT DATE '2026-01-01' AS day, i AS id, i AS x FROM range(50) r(i))"
    >>> samples(connection, rows, "id", ["x"], size=3)["x"].to_pylist()
    [41, 17, 31]
    """
    # 53 bits of MD5: the same everywhere, where DuckDB's own hash() differs between versions.
    uniform = f"((md5_number_lower({quoted(key_column)}::VARCHAR) >> 11)::DOUBLE + 0.5) / 9007199254740992.0"
    key = f"-ln({uniform})" + (f" / {quoted(weight)}::DOUBLE" if weight else "")
    names = "".join(f", {quoted(column)}" for column in (*columns, *([weight] if weight else [])))
    drawn = f" WHERE {quoted(weight)} > 0" if weight else ""
    return _smallest(connection, f"(SELECT day, {key} AS sample_key{names} FROM {rows}{drawn})", size)


def added_samples(connection: duckdb.DuckDBPyConnection, parts: pa.Table, size: int = SAMPLE_ROWS) -> pa.Table:
    """The sample of all rows, from those of batches put below each other."""
    connection.register("sample_batches", parts)
    found = _smallest(connection, "sample_batches", size)
    connection.unregister("sample_batches")
    return found


def _smallest(connection: duckdb.DuckDBPyConnection, keyed: str, size: int) -> pa.Table:
    place = "row_number() OVER (PARTITION BY day ORDER BY sample_key)"
    return connection.sql(f"FROM {keyed} QUALIFY {place} <= {int(size)} ORDER BY day, sample_key").to_arrow_table()


def merged(
    days: np.ndarray,
    keys: np.ndarray,
    limit: int | None = None,
    size: int = SAMPLE_ROWS,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Which rows of several days' samples are a plain random sample of all that the days' rows stand for: (N,) booleans.

    A day whose sample is full may hold further rows beyond its largest key, so only keys up to the smallest such end count;
    `limit` keeps the smallest of them.

    With `weights` (of each row, 1 where not given) a row is kept with a probability in proportion to its weight, so that what is
    computed from the kept rows needs no weights. A day that kept all its rows is thinned to that too: else rows that are logged
    more often would count more often. u is the hash behind a key, (1 - u) / weight is below c with probability c * weight, and
    no c above 1 / the largest weight does that for every row (Poisson sampling; Ohlsson 1998).

    Examples
    --------
    >>> merged(np.array([1, 1, 2, 2, 2]), np.array([0.1, 0.9, 0.2, 0.3, 0.5]), size=3)
    array([ True, False,  True,  True,  True])
    >>> merged(np.array([1, 1, 1]), np.array([0.05, 0.05, 0.3]), weights=np.array([1.0, 10.0, 10.0]))
    array([ True,  True,  True])
    >>> merged(np.array([1, 1, 1]), np.array([0.5, 0.05, 0.3]), weights=np.array([1.0, 10.0, 10.0]))
    array([False,  True,  True])
    """
    if len(keys) == 0:
        return np.zeros(0, bool)
    weights = np.ones(len(keys)) if weights is None else weights
    _, place, count = np.unique(days, return_inverse=True, return_counts=True)
    largest = np.full(len(count), -np.inf)
    np.maximum.at(largest, place, keys)
    cut = largest[count >= size].min(initial=np.inf)
    # Until here keys are -ln(u) / weight, by which a day's rows were drawn.
    heaviest = weights.max()
    ranks = -np.expm1(-weights * keys) / weights
    kept = (keys <= cut) & (ranks <= -np.expm1(-heaviest * cut) / heaviest)
    if limit is not None and kept.sum() > limit:
        kept &= ranks <= np.partition(ranks[kept], limit - 1)[limit - 1]
    return kept
