"""Laws of the rooms, the folders and modules directly within the package: imports between them run one way."""

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import monitoring_assets

PACKAGE = Path(monitoring_assets.__file__).parent
# These only hand a public name on from the room where it lives now to the place where users know it.
FORWARDING = ("drift/__init__.py", "performance/__init__.py", "orchestration/event_storage.py")


def imported_rooms(package: Path) -> dict[str, set[str]]:
    """Room -> the rooms it imports, inside functions and for type checkers too."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for file in package.rglob("*.py"):
        place = file.relative_to(package)
        if place.as_posix() in FORWARDING:
            continue
        room = place.parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(file.read_text())):
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            named += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            rooms[room] |= {name.split(".")[1] for name in named if name.startswith("monitoring_assets.")} - {room}
    return dict(rooms)


def test_no_two_rooms_import_each_other_not_even_by_way_of_others() -> None:
    rooms = imported_rooms(PACKAGE)
    assert rooms["performance"] >= {"baselines", "ingestion"}, "imports were read"
    try:
        tuple(TopologicalSorter(rooms).static_order())
    except CycleError as error:
        pytest.fail("these rooms import each other in a circle: " + " <- ".join(error.args[1]))
