"""Keys that stand twice in one mapping of a YAML file, of which a parser silently keeps the last. What they mean is not known."""

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

# libyaml's, ten times as fast, where PyYAML was built with it.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class RepeatedKey:
    """A key, its line, and the line on which it stands first."""

    key: str
    line: int
    first_line: int

    def __str__(self) -> str:
        return f"the key {self.key!r} stands here a second time, first on line {self.first_line}; remove one of the two"


def repeated_keys(text: str) -> list[RepeatedKey]:
    """All of them, in the order of their lines.

    >>> [str(found) for found in repeated_keys("a: {b: 1}\\nc: 2\\na: 3")]
    ["the key 'a' stands here a second time, first on line 1; remove one of the two"]
    """
    return [found for node in yaml.compose_all(text, Loader=LOADER) for found in repeated_in(node)]


def repeated_in(document: yaml.Node | None) -> list[RepeatedKey]:
    """Those of one document, in the order of their lines."""
    return [] if document is None else sorted(_in(document), key=lambda found: found.line)


def _in(node: yaml.Node) -> Iterator[RepeatedKey]:
    if isinstance(node, yaml.SequenceNode):
        for part in node.value:
            yield from _in(part)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            yield from _in(value)
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                first = seen.setdefault((key.tag, key.value), line)
                if first != line:
                    yield RepeatedKey(key.value, line, first)
