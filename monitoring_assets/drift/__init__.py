"""Distances, thresholds, verdicts. `from monitoring_assets.drift import compare` compares two tables without Dagster."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitoring_assets.comparison.compare import compare

__all__ = ["compare"]


def __getattr__(name: str) -> Any:
    """`compare` is loaded when it is asked for: definitions that only score days must not pay for it."""
    if name == "compare":
        from monitoring_assets.comparison.compare import compare

        return compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
