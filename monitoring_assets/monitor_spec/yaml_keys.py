"""Keys that stand twice in one mapping of a YAML file, of which a parser silently keeps the last. What they mean is not known."""

from collections.abc import Iterator
from dataclasses import dataclass

import yaml


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
    documents = (node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None)
    return sorted((found for node in documents for found in _in(node)), key=lambda found: found.line)


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
