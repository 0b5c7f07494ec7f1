"""What every part of a spec is made of: the model they derive from, bounded numbers, the order of severities."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Severity = Literal["ok", "minor", "moderate", "severe"]
SEVERITIES: tuple[Severity, ...] = ("ok", "minor", "moderate", "severe")

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]


class SpecModel(BaseModel):
    """Base of every part of a spec: unknown keys are mistakes, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def worst(severities: list[Severity]) -> Severity:
    """The gravest of the severities given, `ok` where there are none.

    >>> worst(["ok", "severe", "minor"])
    'severe'
    """
    return max(severities, key=SEVERITIES.index, default="ok")
