"""The serving side: writes the prediction log. `from monitoring_assets.prediction_logging import PredictionLogger`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitoring_assets.prediction_logging.prediction_logger import PredictionLogger, high_risk, low_confidence

__all__ = ["PredictionLogger", "high_risk", "low_confidence"]


def __getattr__(name: str) -> Any:
    """Loaded when asked for: reading a log's segments must not load what writes them."""
    if name in __all__:
        from monitoring_assets.prediction_logging import prediction_logger

        return getattr(prediction_logger, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
