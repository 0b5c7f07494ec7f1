"""What every part of a spec is made of: the model they derive from, bounded numbers, dotted paths, the order of severities."""

import re
from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Severity = Literal["ok", "minor", "moderate", "severe"]
SEVERITIES: tuple[Severity, ...] = ("ok", "minor", "moderate", "severe")

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]


def _importable_module(path: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", path):
        raise ValueError(f"must be a dotted path package.module.function, found {path!r}")
    package, module = path.split(".", maxsplit=1)[0], path.rpartition(".")[0]
    for name in (package, module):
        try:
            # Imports the packages around a module, never the module itself, which may be as heavy as it likes.
            found = find_spec(name)
        except Exception as error:  # whatever the user's package does when it is imported
            raise ValueError(f"looking for module {name!r}, named by {path!r}, failed: {type(error).__name__}: {error}") from None
        if found is None:
            raise ValueError(f"no module {name!r} is installed, named by {path!r}")
    return path


DottedPath = Annotated[str, AfterValidator(_importable_module)]


class SpecModel(BaseModel):
    """Base of every part of a spec: unknown keys are mistakes, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def worst(severities: list[Severity]) -> Severity:
    """The gravest of the severities given, `ok` where there are none.

    >>> worst(["ok", "severe", "minor"])
    'severe'
    """
    return max(severities, key=SEVERITIES.index, default="ok")
