"""What an operation holds of a table of the server, and how the table differs from it when it goes back."""

from dataclasses import dataclass
from datetime import date

from monitoring_assets.shared_warehouse.catalog import Shape
from monitoring_assets.sql_text import quoted

Name = tuple[str, str]  # monitor, table
Part = date | str | None
Digests = dict[Part, tuple[int, int]]


@dataclass(frozen=True)
class Held:
    """What is in memory of a table: rows of the scope, or all, or of some baselines, or none; its comments, perhaps; and where a
    statement was to change it, a digest of each of its parts as the server has them."""

    has_rows: bool = False
    has_all_rows: bool = False
    baselines: frozenset[str] = frozenset()
    has_comments: bool = False
    digests: Digests | None = None


@dataclass(frozen=True)
class Change:
    """What has become of a table: its shape before and now, the parts whose rows are others, or that all rows are to be written
    anew, and the digests of the parts now."""

    before: Shape | None
    after: Shape | None
    parts: frozenset[Part]
    digests: Digests
    is_whole: bool

    @property
    def is_reshaped(self) -> bool:
        return self.before != self.after


def full_name(name: Name) -> str:
    return f"{quoted(name[0])}.{quoted(name[1])}"
