"""A monitor as its YAML says: templates filled in, and a spec, or a refusal that names file, line, field and what is allowed."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import dagster as dg
from dagster_shared.yaml_utils.source_position import SourcePositionTree
from pydantic import BaseModel, ValidationError

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.monitor_spec.yaml_keys import RepeatedKey

# Texts of one line that are no template and no Python literal.
IS_PLAIN = re.compile(r"(?!(True|False|None)$)[A-Za-z_/]([^'\"\n{]|{(?![{%#]))*").fullmatch


@dataclass(frozen=True)
class WrittenMonitor:
    """A monitor's settings as they are written in a place, the keys that stand there twice, and how to find the line of each:
    `positions` gives the lines of the file, in which the settings are `below` some keys."""

    given: dict[str, Any]
    place: Path
    repeated: list[RepeatedKey]
    positions: Callable[[], SourcePositionTree | None]
    below: tuple[str, ...] = ()

    def spec(self, context: dg.ResolutionContext) -> MonitorSpec:
        """The spec, if everything in it is right; `context` knows what templates mean.

        Raises
        ------
        DagsterInvalidDefinitionError
            With all that is wrong, one line each.
        """
        if self.repeated:
            file = self._file()
            raise self._refusal([f"{file}:{found.line}, {found}" for found in self.repeated])
        unset = sorted({name for text in _texts(self.given) for name in _variables(text) if name not in os.environ})
        if unset:
            raise self._refusal([f"the environment variable {name} is not set, and the YAML uses it" for name in unset])
        resolved = {key: _resolved(key, value, context) for key, value in self.given.items()}
        try:
            return MonitorSpec.model_validate(resolved)
        except ValidationError as error:
            raise self._refusal([self._explained(mistake) for mistake in error.errors()]) from None

    def _file(self) -> Path:
        tree = self.positions()
        return self.place if tree is None else Path(tree.position.filename)

    def _refusal(self, mistakes: list[str]) -> dg.DagsterInvalidDefinitionError:
        listed = "".join(f"\n  {mistake}" for mistake in mistakes)
        return dg.DagsterInvalidDefinitionError(f"monitor {self.given.get('name')!r} in {self.place} is refused:{listed}")

    def _explained(self, mistake: Any) -> str:
        """One mistake: where it stands, the field, what is allowed, what was found."""
        path = list(mistake["loc"])
        field = ".".join(map(str, path)) or "the monitor"
        said = str(mistake["msg"]).removeprefix("Value error, ")
        if mistake["type"] == "extra_forbidden":
            allowed = _keys_at(path[:-1])
            close = get_close_matches(str(path[-1]), allowed, n=1)
            said = f"unknown key{f' (did you mean {close[0]!r}?)' if close else ''}, allowed: {', '.join(sorted(allowed))}"
        elif mistake["type"] != "missing" and not isinstance(mistake["input"], dict):
            said += f", found {mistake['input']!r}"
        tree = self.positions()
        if tree is None:
            return f"{field}: {said}"
        position, _ = tree.lookup_closest_and_path([*self.below, *path], None)
        return f"{position.filename}:{position.start.line}, {field}: {said}"


def _resolved(key: str, value: Any, context: dg.ResolutionContext) -> Any:
    """A value with its templates, such as {{ env.LOG_FOLDER }}, filled in. Dagster compiles every text as a template, and reads
    one such as "1" as Python does; most texts need neither."""
    if all(IS_PLAIN(text) for text in _texts(value)):
        return value
    return context.at_path(key).resolve_value(value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(part)


def _variables(text: str) -> list[str]:
    """Environment variables a template needs: one that is not set would become the text 'None'."""
    return [name for template in re.findall(r"{{(.*?)}}", text) for name in re.findall(r"\benv\.(\w+)", template)]


def _keys_at(path: list[str | int]) -> list[str]:
    """The keys the spec knows at a place. Keys of mappings and places in lists lead no deeper."""
    model: type[BaseModel] = MonitorSpec
    for part in path:
        field = next((field for name, field in model.model_fields.items() if part in (name, field.alias)), None)
        model = next(_models_in(field.annotation), model) if field else model
    return [field.alias or name for name, field in model.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
