"""Great Expectations, and nothing else: which rows of a frame break which rule.

This is the library's one home. Days, tolerances and severities are not known here (`findings.py`). The library takes
3-5 s to import, so it is imported when a frame is validated and not before.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from monitoring_assets.errors import PermanentError

Rows = npt.NDArray[np.intp]

# Great Expectations copies its whole batch for every rule on a column. Eight columns a batch instead of all 41 made
# 280,000 rows 3.5 times faster (7.2 s to 2.0 s); with fewer than four, small frames pay more for batches than copies.
COLUMNS_PER_BATCH = 8

# The data source holds one batch at a time under one name, so a second thread's batch would silently take its place.
ONE_BATCH_AT_A_TIME = threading.Lock()

# Row numbers and no values: only COMPLETE has all row numbers, and the other keys keep it from formatting values.
RESULT_FORMAT = {
    "result_format": "COMPLETE",
    "partial_unexpected_count": 0,
    "exclude_unexpected_values": True,
    "include_unexpected_rows": False,
    "return_unexpected_index_query": False,
}


@dataclass(frozen=True)
class Rule:
    """One Great Expectations expectation by class name, the columns it reads, and its other arguments."""

    name: str
    columns: tuple[str, ...]
    arguments: dict[str, Any]


def rows_breaking(rules: Sequence[Rule], frame: pd.DataFrame) -> list[Rows]:
    """For each rule the numbers (0 = first) of the rows that break it, rising.

    Raises
    ------
    PermanentError
        When Great Expectations could not evaluate a rule.
    """
    if frame.index.name is not None or not frame.index.equals(pd.RangeIndex(len(frame))):
        frame = frame.reset_index(drop=True)
    found: dict[int, Rows] = {}
    for numbers, columns in _batches(rules):
        found |= _validate(frame[columns], {number: rules[number] for number in numbers})
    return [found[number] for number in range(len(rules))]


def _batches(rules: Sequence[Rule]) -> Iterator[tuple[list[int], list[str]]]:
    """The rules' numbers and columns, in portions of few columns."""
    reads = list(dict.fromkeys(rule.columns for rule in rules))
    for start in range(0, len(reads), COLUMNS_PER_BATCH):
        portion = reads[start : start + COLUMNS_PER_BATCH]
        numbers = [number for number, rule in enumerate(rules) if rule.columns in portion]
        yield numbers, list(dict.fromkeys(column for columns in portion for column in columns))


def _validate(frame: pd.DataFrame, rules: dict[int, Rule]) -> dict[int, Rows]:
    import great_expectations as gx
    from great_expectations import expectations as known

    suite = gx.ExpectationSuite(
        name="day",
        expectations=[getattr(known, rule.name)(**rule.arguments, meta={"number": number}) for number, rule in rules.items()],
    )
    with ONE_BATCH_AT_A_TIME:
        batch = _batch_definition().get_batch({"dataframe": frame})
        results = batch.validate(suite, result_format=RESULT_FORMAT).results
    found = {}
    for result in results:
        number = result.expectation_config.meta["number"]
        _raise_what_was_caught(rules[number], result.exception_info)
        found[number] = np.asarray(result.result["unexpected_index_list"], dtype=np.intp)
    return found


def _raise_what_was_caught(rule: Rule, caught: dict[str, Any]) -> None:
    """Great Expectations turns an exception into a failed result, in two shapes; it must not pass for a finding."""
    infos = [caught] if "raised_exception" in caught else list(caught.values())
    messages = [info["exception_message"] for info in infos if info["raised_exception"]]
    if messages:
        raise PermanentError(
            f"{rule.name} on column {', '.join(map(repr, rule.columns))} could not be evaluated: {messages[0]}. Check "
            "that the warehouse column has the type the monitor's YAML declares, and that the declared bounds fit it."
        )


@cache
def _batch_definition() -> Any:
    """In memory, without progress bars, usage statistics or files in /tmp: one for the process, 11 ms to make."""
    import great_expectations as gx
    from great_expectations.data_context.types import base

    config = base.DataContextConfig(
        store_backend_defaults=base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=base.ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    asset = context.data_sources.add_pandas("log").add_dataframe_asset("days")
    return asset.add_batch_definition_whole_dataframe("all_rows")
