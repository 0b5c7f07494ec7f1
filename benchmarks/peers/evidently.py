"""Evidently: `DataDriftPreset` on two datasets with a declared column type each, and its own tests for the verdict."""

from collections.abc import Callable, Mapping

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset


def comparer(reference: pd.DataFrame, kinds: Mapping[str, str], method: str | None = None) -> Callable[[pd.DataFrame], set[str]]:
    """A function that says which columns of a frame drifted. Without a method each column gets the preset's default."""
    definition = DataDefinition(
        numerical_columns=[name for name, kind in kinds.items() if kind == "numeric"],
        categorical_columns=[name for name, kind in kinds.items() if kind == "categorical"],
    )
    report = Report([DataDriftPreset(method=method)], include_tests=True)
    known = Dataset.from_pandas(reference, data_definition=definition)

    def drifted(current: pd.DataFrame) -> set[str]:
        found = report.run(Dataset.from_pandas(current, data_definition=definition), known).dict()
        failed = [test["metric_config"]["params"] for test in found["tests"] if test["status"] == "FAIL"]
        return {parameters["column"] for parameters in failed if "column" in parameters}

    return drifted
