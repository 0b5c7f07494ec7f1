"""Great Expectations, and nothing else: suites made of names and arguments, written as its JSON, and run on frames.

This is the library's one home, with `correlation_expectation.py`. Days, rules and limits are not known here
(`day_expectations.py`, `declared.py`, `suites.py`). The library takes 3-5 s to import, so it is imported when it is asked for
and not before.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from monitoring_assets.errors import ExpectationUnusable

# The data source holds one batch at a time under one name, so a second thread's batch would silently take its place.
ONE_BATCH_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Named:
    """An expectation by its name in snake case and its arguments; `severity` and `meta` are the library's own."""

    type: str
    kwargs: Mapping[str, Any]
    severity: str = "critical"
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """The result of an expectation on a frame: `observed` is the statistic where it is a number, else the unexpected share, else
    nan. `unexpected_percent` is None where the library has none, as of statistics."""

    expectation: Named
    success: bool
    observed: float
    unexpected_count: int
    unexpected_percent: float | None
    partial_unexpected_list: list[str]


def suite_as_json(name: str, expectations: Sequence[Named], meta: Mapping[str, Any]) -> dict[str, Any]:
    """A suite in the form in which Great Expectations writes and reads it.

    Raises
    ------
    ExpectationUnusable
        When Great Expectations has none of that name, or refuses the arguments. Names the nearest it has, or the mistake.
    """
    import great_expectations as gx

    suite = gx.ExpectationSuite(name=name, expectations=[_expectation(each) for each in expectations], meta=dict(meta))
    written: dict[str, Any] = suite.to_json_dict()
    return written


def outcomes(suite: Mapping[str, Any], frame: pd.DataFrame, samples: int) -> list[Outcome]:
    """The results of a suite from `suite_as_json` on a frame, in the suite's order.

    Raises
    ------
    ExpectationUnusable
        When one could not be evaluated: Great Expectations itself would report it as failed, which is no finding about data.
    """
    import great_expectations as gx

    import monitoring_assets.quality.correlation_expectation  # noqa: F401

    numbered = [each | {"meta": each.get("meta", {}) | {"number": n}} for n, each in enumerate(suite["expectations"])]
    loaded = gx.ExpectationSuite(**{**suite, "expectations": numbered})
    found: dict[int, Outcome] = {}
    for result in _validate(frame, loaded, {"result_format": "BASIC", "partial_unexpected_count": samples}):
        configuration = result.expectation_config
        message = _caught(result.exception_info)
        if message:
            raise ExpectationUnusable(
                f"{configuration.type} with {_arguments_in_words(configuration.kwargs)} could not be evaluated: {message} "
                "Correct its arguments in the monitor's YAML, quality.expectations, to fit the column's type."
            )
        number = configuration.meta["number"]
        asked = suite["expectations"][number]
        named = Named(asked["type"], asked["kwargs"], asked["severity"], asked.get("meta", {}))
        found[number] = _outcome(named, bool(result.success), result.result)
    return [found[number] for number in range(len(found))]


def _expectation(named: Named) -> Any:
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations import registry
    from pydantic.v1 import ValidationError

    import monitoring_assets.quality.correlation_expectation  # noqa: F401

    try:
        implementation = registry.get_expectation_impl(named.type)
    except ExpectationNotFoundError:
        close = get_close_matches(named.type, registry.list_registered_expectation_implementations(), n=3)
        nearest = f"did you mean {' or '.join(close)}?" if close else "its gallery lists those there are."
        raise ExpectationUnusable(
            f"quality.expectations: Great Expectations has no {named.type!r}; {nearest} Correct `type` in the monitor's YAML."
        ) from None
    try:
        return implementation(**named.kwargs, severity=named.severity, meta=dict(named.meta))
    except (ValidationError, TypeError, ValueError) as error:
        mistakes = error.errors() if isinstance(error, ValidationError) else [{"loc": ("arguments",), "msg": str(error)}]
        said = "; ".join(dict.fromkeys(f"{'.'.join(map(str, m['loc']))}: {m['msg']}" for m in mistakes))
        takes = sorted(set(implementation.__fields__) - NOT_FOR_USERS)
        raise ExpectationUnusable(
            f"quality.expectations: {named.type} with {_arguments_in_words(named.kwargs)} is refused: {said}. "
            f"It takes {', '.join(takes)}."
        ) from None


# Fields every expectation has, which say nothing of the data.
NOT_FOR_USERS = frozenset(
    {"id", "meta", "notes", "result_format", "description", "catch_exceptions", "rendered_content", "severity", "windows"}
    | {"batch_id", "condition_parser"}
)


def _arguments_in_words(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value!r}" for key, value in arguments.items() if key not in NOT_FOR_USERS) or "no arguments"


def _outcome(named: Named, success: bool, result: Mapping[str, Any]) -> Outcome:
    count = int(result.get("unexpected_count") or 0) or int(not success)
    percent = result.get("unexpected_percent")
    observed = result.get("observed_value")
    shown = [str(value) for value in result.get("partial_unexpected_list") or []]
    if observed is not None and not shown and not success:
        shown = [f"{observed:g}" if isinstance(observed, (int, float, np.number)) else str(observed)]
    if not isinstance(observed, (int, float, np.number)):
        observed = math.nan if percent is None else percent / 100
    return Outcome(named, success, float(observed), count, percent, shown)


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
