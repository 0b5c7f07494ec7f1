"""How a batch of delivered rows stands to the contract, as tables that add up: accepted rows, refused ones by rule and column,
and some refused rows as examples.

What the contract is, and the reason of each refused row, is `ingestion/contract.py`'s.
"""

from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa

from monitoring_assets.sql_text import literal

# Refused rows that are kept of a day as examples of what breaks one rule in one column: the first by reason, source and content.
EXAMPLES_KEPT = 100
REPEATED_ID = "repeated id"
JUDGEMENT = ("__reason", "__source", "__original")


def delivered(connection: duckdb.DuckDBPyConnection, rows: str, columns: Sequence[str]) -> dict[str, pa.Table]:
    """The tables `delivered` (`day`, `rule` and `column_name`, NULL for accepted rows, and how many `rows`) and `refused`.

    The relation has `day` and what `ingestion.contract.create_judged` says of each row. `columns` are those a reason may name.
    """
    names = "[" + ", ".join(literal(name) for name in columns) + "]::VARCHAR[]"
    # A reason reads 'rule: column is value'; a value may look like a column, and one column's name begin with another's.
    named = f"[struct_pack(length := length(name), name := name) FOR name IN {names} IF starts_with(broken, name || ' is ')]"
    found = connection.sql(
        "SELECT day, rule, __source AS source, __reason AS reason, __original AS original, "
        f"CASE WHEN rule IS NOT NULL THEN list_max({named}).name END AS column_name FROM ("
        "SELECT day, __source, __reason, __original, split_part(__reason, ': ', 1) AS rule, "
        f"substr(__reason, length(split_part(__reason, ': ', 1)) + 3) AS broken FROM {rows} WHERE __reason IS NOT NULL)"
    ).to_arrow_table()
    connection.register("refused_rows", found)
    accepted = (
        f"SELECT day, NULL::VARCHAR AS rule, NULL::VARCHAR AS column_name, count(*) AS rows FROM {rows} WHERE __reason IS NULL"
    )
    refused = "SELECT day, rule, column_name, count(*) AS rows FROM refused_rows"
    tables = {
        "delivered": connection.sql(f"{accepted} GROUP BY day UNION ALL {refused} GROUP BY ALL ORDER BY ALL").to_arrow_table(),
        "refused": _first(connection, "refused_rows"),
    }
    connection.unregister("refused_rows")
    return tables


def added_delivered(connection: duckdb.DuckDBPyConnection, parts: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables of all rows, from those of batches put below each other."""
    connection.register("delivered_batches", parts["delivered"])
    connection.register("refused_batches", parts["refused"])
    added = "SELECT day, rule, column_name, sum(rows)::BIGINT AS rows FROM delivered_batches GROUP BY ALL ORDER BY ALL"
    found = {"delivered": connection.sql(added).to_arrow_table(), "refused": _first(connection, "refused_batches")}
    connection.unregister("delivered_batches")
    connection.unregister("refused_batches")
    return found


def accepted_sql(rows: str) -> str:
    """The accepted rows of a relation of judged ones, as the log holds them."""
    return f"(SELECT * EXCLUDE ({', '.join(JUDGEMENT)}) FROM {rows} WHERE __reason IS NULL)"


def _first(connection: duckdb.DuckDBPyConnection, refused: str) -> pa.Table:
    place = "row_number() OVER (PARTITION BY day, rule, column_name ORDER BY reason, source, original)"
    columns = "day, rule, column_name, source, reason, original"
    return connection.sql(f"SELECT {columns} FROM {refused} QUALIFY {place} <= {EXAMPLES_KEPT} ORDER BY ALL").to_arrow_table()
