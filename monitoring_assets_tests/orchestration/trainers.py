"""Trainers of a user's own, given to monitors by their dotted path: one that learns from `amount`, one that learns nothing."""

from typing import Any

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline


def learning(features: pd.DataFrame, target: pd.Series, task: str) -> Any:
    model = LogisticRegression() if task == "classification" else LinearRegression()
    return make_pipeline(ColumnTransformer([("amount", "passthrough", ["amount"])]), model).fit(features, target)


def guessing(features: pd.DataFrame, target: pd.Series, task: str) -> Any:
    return DummyClassifier(strategy="prior").fit(features, target)
