"""What a monitor watches: the typed, validated content of one YAML file. No Dagster here, no reading of data.

Every rule that can be checked without data is checked here, so a mistake in the YAML is found when it is loaded.
"""

from monitoring_assets.monitor_spec.columns import CONFIDENCE, Feature, Label, Prediction, Serving
from monitoring_assets.monitor_spec.drift import (
    ALL_CATEGORICAL_METHODS,
    ALL_NUMERIC_METHODS,
    Drift,
    Method,
    MultivariateMethod,
    ReferenceChoice,
    SeverityLevels,
)
from monitoring_assets.monitor_spec.engine import Engine, Spark
from monitoring_assets.monitor_spec.judgements import AlertRoute, DeclaredExpectation, Performance, Quality, Retrain
from monitoring_assets.monitor_spec.monitor import MonitorSpec, days_between
from monitoring_assets.monitor_spec.parts import SEVERITIES, Severity, worst
from monitoring_assets.monitor_spec.sources import Reference, Rows, Source

__all__ = [
    "ALL_CATEGORICAL_METHODS",
    "ALL_NUMERIC_METHODS",
    "CONFIDENCE",
    "SEVERITIES",
    "AlertRoute",
    "DeclaredExpectation",
    "Drift",
    "Engine",
    "Feature",
    "Label",
    "Method",
    "MonitorSpec",
    "MultivariateMethod",
    "Performance",
    "Prediction",
    "Quality",
    "Reference",
    "ReferenceChoice",
    "Retrain",
    "Rows",
    "Serving",
    "Severity",
    "SeverityLevels",
    "Source",
    "Spark",
    "days_between",
    "worst",
]  # fmt: skip
