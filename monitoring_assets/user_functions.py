"""The user's own functions, which the YAML names by their dotted path: imported, or a named error. Their callers say what they
must return.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from monitoring_assets.errors import FunctionMissing, PermanentError


def load_function(
    dotted_path: str, setting: str, signature: str, error: type[PermanentError] = FunctionMissing
) -> Callable[..., Any]:
    """The function a dotted path names. `setting` is the YAML's key, `signature` what the function takes and gives.

    Raises
    ------
    FunctionMissing, or the `error` given
        When the module cannot be imported, or holds no such function.

    Examples
    --------
    >>> load_function("json.dumps", "trainer", "(features, target, task) -> fitted model").__name__
    'dumps'
    """
    module_name, _, name = dotted_path.rpartition(".")
    expected = f"{setting} {dotted_path!r} must name a function {signature}"
    remedy = f"Correct `{setting}` in the monitor's YAML, or the module."
    try:
        found = getattr(import_module(module_name), name, None)
    except Exception as failure:  # whatever the user's module does when it is imported
        said = f"{type(failure).__name__}: {failure}{_place(failure)}"
        raise error(f"{expected}; importing {module_name!r} failed: {said}. {remedy}") from failure
    if not callable(found):
        holds = f"has no {name!r}" if found is None else f"holds a {type(found).__name__} called {name!r}"
        raise error(f"{expected}; module {module_name!r} {holds}. {remedy}")
    return found


def _place(failure: Exception) -> str:
    """File and line in the user's own code, if the error was raised there."""
    trace, place = failure.__traceback__, ""
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.exists() and file != Path(__file__) and file.parent.name != "importlib":
            place = f" ({file.name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place
