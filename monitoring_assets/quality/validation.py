"""Great Expectations, and nothing else: which rows of a table break which rule, and how a frame fares with any expectation.

This is the library's one home. Days, limits and severities are not known here (`findings.py`, `declared.py`). The library
takes 3-5 s to import, so it is imported when something is validated and not before.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from monitoring_assets.errors import ExpectationUnusable, PermanentError

Rows = npt.NDArray[np.intp]

# The data source holds one batch at a time under one name, so a second thread's batch would silently take its place.
ONE_BATCH_AT_A_TIME = threading.Lock()

# Row numbers and no values: only COMPLETE has all row numbers, and the other keys keep it from formatting values.
ROW_NUMBERS = {
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


@dataclass(frozen=True)
class Outcome:
    """How a frame fared: `observed` is the statistic where it is a number, else the unexpected share, else nan."""

    success: bool
    observed: float
    unexpected_count: int
    unexpected_share: float
    samples: list[str]


def rows_breaking(rules: Sequence[Rule], frame: pd.DataFrame) -> list[Rows]:
    """For each rule the numbers (0 = first) of the rows that break it, rising.

    Raises
    ------
    PermanentError
        When Great Expectations could not evaluate a rule.
    """
    import great_expectations as gx
    from great_expectations import expectations as known

    suite = gx.ExpectationSuite(
        name="rows",
        expectations=[getattr(known, rule.name)(**rule.arguments, meta={"number": n}) for n, rule in enumerate(rules)],
    )
    found: dict[int, Rows] = {}
    for result in _validate(frame.reset_index(drop=True), suite, ROW_NUMBERS):
        number = result.expectation_config.meta["number"]
        message = _caught(result.exception_info)
        if message:
            raise PermanentError(f"{rules[number].name} on {', '.join(rules[number].columns)} could not be evaluated: {message}")
        found[number] = np.asarray(result.result["unexpected_index_list"], dtype=np.intp)
    return [found[number] for number in range(len(rules))]


def declared_suite(declared: Sequence[tuple[str, Mapping[str, Any]]]) -> Any:
    """A suite of expectations by name and arguments, for `outcomes`.

    Raises
    ------
    ExpectationUnusable
        When Great Expectations has none of that name, or refuses the arguments. Names the nearest it has, or the mistake.
    """
    import great_expectations as gx

    made = [_expectation(name, arguments, number) for number, (name, arguments) in enumerate(declared)]
    return gx.ExpectationSuite(name="declared", expectations=made)


def outcomes(suite: Any, frame: pd.DataFrame, samples: int) -> list[Outcome]:
    """How a frame fares with each expectation of a `declared_suite`, in its order.

    Raises
    ------
    ExpectationUnusable
        When one could not be evaluated: Great Expectations itself would report it as failed, which is no finding about data.
    """
    found: dict[int, Outcome] = {}
    for result in _validate(frame, suite, {"result_format": "BASIC", "partial_unexpected_count": samples}):
        configuration = result.expectation_config
        message = _caught(result.exception_info)
        if message:
            raise ExpectationUnusable(
                f"{configuration.type} with {_arguments_told(configuration.kwargs)} could not be evaluated: {message} Correct "
                "its arguments in the monitor's YAML, quality.expectations, to fit the column's type."
            )
        found[configuration.meta["number"]] = _outcome(bool(result.success), result.result)
    return [found[number] for number in range(len(found))]


def _expectation(name: str, arguments: Mapping[str, Any], number: int) -> Any:
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations import registry
    from pydantic.v1 import ValidationError

    try:
        implementation = registry.get_expectation_impl(name)
    except ExpectationNotFoundError:
        close = get_close_matches(name, registry.list_registered_expectation_implementations(), n=3)
        nearest = f"did you mean {' or '.join(close)}?" if close else "its gallery lists those there are."
        raise ExpectationUnusable(
            f"quality.expectations: Great Expectations has no {name!r}; {nearest} Correct `type` in the monitor's YAML."
        ) from None
    try:
        return implementation(**arguments, meta={"number": number})
    except (ValidationError, TypeError, ValueError) as error:
        mistakes = error.errors() if isinstance(error, ValidationError) else [{"loc": ("arguments",), "msg": str(error)}]
        said = "; ".join(dict.fromkeys(f"{'.'.join(map(str, m['loc']))}: {m['msg']}" for m in mistakes))
        takes = sorted(set(implementation.__fields__) - NOT_FOR_USERS)
        raise ExpectationUnusable(
            f"quality.expectations: {name} with {_arguments_told(arguments)} is refused: {said}. It takes {', '.join(takes)}."
        ) from None


# Fields every expectation has, which say nothing of the data.
NOT_FOR_USERS = frozenset(
    {"id", "meta", "notes", "result_format", "description", "catch_exceptions", "rendered_content", "severity", "windows"}
    | {"batch_id", "condition_parser"}
)


def _arguments_told(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value!r}" for key, value in arguments.items() if key not in NOT_FOR_USERS) or "no arguments"


def _outcome(success: bool, result: Mapping[str, Any]) -> Outcome:
    count = int(result.get("unexpected_count") or 0)
    share = count / result["element_count"] if result.get("element_count") else float(not success)
    observed = result.get("observed_value")
    shown = [str(value) for value in result.get("partial_unexpected_list") or []]
    if isinstance(observed, (int, float, np.number)):
        return Outcome(
            success, float(observed), count or int(not success), share, shown or ([] if success else [f"{observed:g}"])
        )
    if observed is not None and not shown and not success:
        shown = [str(observed)]
    return Outcome(success, share if "element_count" in result else math.nan, count or int(not success), share, shown)


def _validate(frame: pd.DataFrame, suite: Any, result_format: Mapping[str, Any]) -> Any:
    with ONE_BATCH_AT_A_TIME:
        batch = _batch_definition().get_batch({"dataframe": frame})
        return batch.validate(suite, result_format=dict(result_format)).results


def _caught(info: dict[str, Any]) -> str:
    """Great Expectations turns an exception into a failed result, in two shapes; it must not pass for a finding."""
    infos = [info] if "raised_exception" in info else list(info.values())
    messages = dict.fromkeys(str(each["exception_message"]).rstrip(".") for each in infos if each["raised_exception"])
    return "; ".join(messages) + "." if messages else ""


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
