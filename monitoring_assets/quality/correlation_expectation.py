"""The one expectation of ours that Great Expectations lacks: that two columns are correlated as they should be.

Importing this module makes the library know it, which loading an exported suite needs wherever features are correlated. It
imports the library, so only `validation.py` imports it, inside functions.
"""

from typing import Any

import numpy as np
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

METRIC = "table.column_pair.correlation"


class ColumnPairCorrelation(TableMetricProvider):
    """Pearson's r over the rows where both columns are finite; None where there are fewer than 2 or one is constant."""

    metric_name = METRIC
    value_keys = ("column_A", "column_B")

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,  # noqa: N805
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any],
    ) -> float | None:
        frame, _, _ = execution_engine.get_compute_domain(metric_domain_kwargs, domain_type=MetricDomainTypes.TABLE)
        x, y = (frame[metric_value_kwargs[key]].to_numpy(float) for key in ("column_A", "column_B"))
        both = np.isfinite(x) & np.isfinite(y)
        if both.sum() < 2 or np.ptp(x[both]) == 0 or np.ptp(y[both]) == 0:
            return None
        return float(np.corrcoef(x[both], y[both])[0, 1])


class ExpectColumnPairCorrelationToBeBetween(BatchExpectation):
    """Expect Pearson's correlation of two numeric columns to be between `min_value` and `max_value`, either of which may be
    left out. Rows where a value is missing or infinite do not count; constant columns have no correlation, and fail."""

    column_A: str  # noqa: N815 (the library's own name for it)
    column_B: str  # noqa: N815
    min_value: float | None = None
    max_value: float | None = None

    metric_dependencies = (METRIC,)
    success_keys = ("column_A", "column_B", "min_value", "max_value")

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: dict[str, Any] | None = None, execution_engine: Any = None
    ) -> Any:
        return self._validate_metric_value_between(METRIC, metrics, runtime_configuration, execution_engine)
