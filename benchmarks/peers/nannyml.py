"""NannyML: `UnivariateDriftCalculator`, fitted once on the reference, then given what is to be judged."""

from collections.abc import Callable, Sequence

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
