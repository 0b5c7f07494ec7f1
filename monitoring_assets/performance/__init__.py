"""How good a model is. `from monitoring_assets.performance import estimate, realised` needs no Dagster and no warehouse."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitoring_assets.comparison.performance import estimate, realised

__all__ = ["estimate", "realised"]


def __getattr__(name: str) -> Any:
    """Both are loaded when they are asked for: definitions that only measure days must not pay for them."""
    if name in __all__:
        from monitoring_assets.comparison import performance

        return getattr(performance, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
