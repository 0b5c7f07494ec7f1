"""NannyML: `UnivariateDriftCalculator`, fitted once on the reference, then given what is to be judged; and its CBPE."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from nannyml import UnivariateDriftCalculator


def comparer(
    reference: pd.DataFrame, columns: Sequence[str], continuous: str, categorical: str
) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A function that scores a frame as one chunk."""
    calculator = UnivariateDriftCalculator(
        column_names=list(columns), continuous_methods=[continuous], categorical_methods=[categorical], chunk_number=1
    ).fit(reference)
    return lambda current: calculator.calculate(current).filter(period="analysis").to_df()


def alarm_days(reference: pd.DataFrame, current: pd.DataFrame, columns: Sequence[str], timestamp: str) -> pd.DataFrame:
    """Which columns alarm on which days of a frame, by default methods and thresholds: (days, columns) of booleans."""
    calculator = UnivariateDriftCalculator(column_names=list(columns), timestamp_column_name=timestamp, chunk_period="D")
    found = calculator.fit(reference).calculate(current).filter(period="analysis").to_df()
    return found.xs("alert", axis=1, level=-1).T.groupby(level=0).any().T


def estimated_metrics(
    reference: pd.DataFrame, current: pd.DataFrame, columns: Mapping[str, str], metrics: Sequence[str], rows: int
) -> list[list[float]]:
    """CBPE's estimates of these metrics, per chunk of so many rows; `columns` names score, prediction and label."""
    from nannyml import CBPE

    estimator = CBPE(
        problem_type="classification_binary", y_pred_proba=columns["score"], y_pred=columns["prediction"],
        y_true=columns["label"], metrics=list(metrics), chunk_size=rows,
    )  # fmt: skip
    found = estimator.fit(reference).estimate(current).filter(period="analysis").to_df()
    return [[float(row[metric, "value"]) for metric in metrics] for _, row in found.iterrows()]
