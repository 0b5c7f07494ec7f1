"""Names and values from data in a line for people: made printable, cut, listed."""

from collections.abc import Sequence


def printable(text: str) -> str:
    r"""Control characters shown, not obeyed: what comes from data may hold a terminal's commands.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shortened(text: str, length: int = 80) -> str:
    """A text cut so that one odd value cannot flood a line.

    >>> shortened("abcdef", length=4)
    'abc…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def listed(names: Sequence[str], most: int = 12, joint: str = ", ") -> str:
    """Names up to `most` of them, and how many more.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    return joint.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
