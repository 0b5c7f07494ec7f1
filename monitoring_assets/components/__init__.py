"""The components this package offers to any Dagster project that installs it."""

from monitoring_assets.components.model_monitor import ModelMonitor
from monitoring_assets.components.monitor_folder import MonitorFolder

__all__ = ["ModelMonitor", "MonitorFolder"]
