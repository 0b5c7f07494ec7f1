"""The components this package offers to any Dagster project that installs it."""

from monitoring_assets.components.model_monitor import ModelMonitor

__all__ = ["ModelMonitor"]
