"""Training a candidate: the default trainer, the user's own by its dotted path, and the honest measure of their models.

Honest means out of fold by whole days: rows of one day share weather, campaigns and outages, so a model that saw half
of a day knows something of the other half. Where the rows come from, the registry, and whether a candidate is promoted
belong elsewhere. scikit-learn is imported inside functions, because it takes a second and most processes never train.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from inspect import signature
from operator import methodcaller
from typing import Any

import numpy as np
import pandas as pd

from monitoring_assets.errors import NotEnoughLabels, PermanentError
from monitoring_assets.performance.labelled_rows import realised_metrics
from monitoring_assets.performance.metrics import PRIMARY_METRIC, Task
from monitoring_assets.user_functions import load_function

# What `trainer` in the YAML names: (features, target, task) -> fitted model. One that also has a parameter `sample_weight` is
# given by it how many rows each row stands for, where the monitor's log is a sample.
Trainer = Callable[..., Any]

# HistGradientBoosting holds 255 bins a feature; rarer categories beyond 253 share the 254th.
MAXIMUM_CATEGORIES = 254


# On the flights, train on two months and predict the third, ten times over: the AUC cross-validated by 3 blocks of days is on
# average 0.011 below the next month's, by 5 blocks 0.000 (both within 0.04 of it in a single month), by days dealt out singly
# 0.013 above, by rows dealt out singly 0.08 above. Three blocks train 40 % faster than five, and err on the modest side.
FOLDS = 3


class TrainerUnusable(PermanentError):
    """The trainer cannot be imported or called, or what it returns cannot predict."""


@dataclass(frozen=True)
class Candidate:
    """A model trained on all labelled rows, and what is known of it before it meets a new day.

    `out_of_fold` has the index of the features it was given: for every labelled row, what a model that never saw that
    row's day says about it. `metric_value` is `metric` (auc or rmse) of those predictions.
    `is_weighted`: whether the trainer took the rows' weights.
    """

    model: Any
    out_of_fold: pd.Series
    metric: str
    metric_value: float
    row_count: int
    first_day: date
    last_day: date
    data_digest: str
    is_weighted: bool


def gradient_boosting(features: pd.DataFrame, target: pd.Series, task: Task, sample_weight: pd.Series | None = None) -> Any:
    """The default trainer: scikit-learn's histogram gradient boosting, default hyper-parameters, seed 0.

    Number and truth columns are split by value, all others by category. NULLs are values of their own; a category that
    training never saw counts as missing, and a feature training never saw a value of is left out. Columns are found by
    name at prediction, in any order.

    Parameters
    ----------
    features : one column per feature.
    target : 0 or 1 for a classification, a number for a regression; none missing.
    sample_weight : how many rows each row stands for; None: each for itself.

    Returns
    -------
    A fitted `sklearn.pipeline.Pipeline`.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

    observed = features.loc[:, features.notna().any()]
    numeric = list(observed.select_dtypes(include=["number", "bool"]).columns)
    categorical = [name for name in observed.columns if name not in numeric]
    known = [list(observed[name].dropna().unique()) for name in categorical]
    many = any(len(categories) > MAXIMUM_CATEGORIES for categories in known)
    encoder = OrdinalEncoder(
        # Found by pandas: the encoder's own search of text takes as long as a third of the boosting.
        categories="auto" if many else known,
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        encoded_missing_value=np.nan,
        max_categories=MAXIMUM_CATEGORIES if many else None,
    )
    # The encoder wants one kind of missing value in text, and an all-missing column may arrive as float. As
    # methodcallers (without keywords, which skops loses), not functions of ours, they load wherever scikit-learn does.
    to_text = FunctionTransformer(methodcaller("to_numpy", "object", False, np.nan))
    to_number = FunctionTransformer(methodcaller("to_numpy", "float64", False, np.nan))
    encoding = make_pipeline(to_text, encoder)
    columns = ColumnTransformer([("categories", encoding, categorical), ("numbers", to_number, numeric)])
    boosting = HistGradientBoostingClassifier if task == "classification" else HistGradientBoostingRegressor
    estimator = boosting(categorical_features=list(range(len(categorical))), random_state=0)
    pipeline = make_pipeline(columns, estimator)
    return pipeline.fit(features, target, **{f"{pipeline.steps[-1][0]}__sample_weight": sample_weight})


def takes_weights(trainer: Trainer) -> bool:
    """Whether a trainer has a parameter `sample_weight`.

    >>> takes_weights(gradient_boosting), takes_weights(lambda features, target, task: None)
    (True, False)
    """
    try:
        return "sample_weight" in signature(trainer).parameters
    except (TypeError, ValueError):  # a callable of compiled code may have no signature
        return False


def load_trainer(dotted_path: str) -> Trainer:
    """The function a dotted path names; TrainerUnusable where there is none."""
    return load_function(dotted_path, "trainer", "(features, target, task) -> fitted model", TrainerUnusable)


def predict(model: Any, features: pd.DataFrame, task: Task) -> np.ndarray:
    """The probability of class 1, or the value of a regression: one float64 per row.

    Raises
    ------
    TrainerUnusable
        When the model of a classification has no `predict_proba`, or never saw class 1.
    """
    if len(features) == 0:
        return np.empty(0)
    if task == "regression":
        with _one_thread():
            return np.asarray(model.predict(features), dtype="float64")
    if not hasattr(model, "predict_proba"):
        raise TrainerUnusable(f"a classifier needs predict_proba, and {type(model).__name__} has none: choose another trainer")
    classes = list(model.classes_)
    if 1 not in classes:
        raise TrainerUnusable(f"the model must know class 1, it knows {classes}: train it on labels 0 and 1")
    with _one_thread():
        return np.asarray(model.predict_proba(features), dtype="float64")[:, classes.index(1)]


def cross_validated_predictions(
    trainer: Trainer,
    features: pd.DataFrame,
    target: pd.Series,
    days: pd.Series,
    task: Task,
    *,
    folds: int = FOLDS,
    weights: pd.Series | None = None,
) -> np.ndarray:
    """For every row, the prediction of a model that never saw the row's day.

    The days, in order, are cut into `folds` blocks; each block is predicted by a model trained on the others. Folds are
    trained side by side in threads, so a trainer must keep no state of its own.

    Parameters
    ----------
    features, target, days : of one length; `target` without missing values; `days` as dates or timestamps at midnight.
    folds : at least 2; as many as there are days where there are fewer.
    weights : how many rows each row stands for, for a trainer that takes them.

    Returns
    -------
    float64, one per row, in the order of the rows.

    Raises
    ------
    NotEnoughLabels
        When all rows are of one day, or one side of a fold holds a single class.
    """
    day, distinct = pd.factorize(np.asarray(days), sort=True)
    if len(distinct) < 2:
        raise NotEnoughLabels(f"cross-validation needs labels of at least 2 days, found {len(distinct)}")
    blocks = [np.isin(day, block) for block in np.array_split(np.arange(len(distinct)), min(folds, len(distinct)))]
    for held_out in blocks:
        _need_two_classes(target[~held_out], task, f"without {distinct[day[held_out].min()]} to {distinct[day[held_out].max()]}")

    def predict_block(held_out: np.ndarray) -> np.ndarray:
        given = None if weights is None else weights[~held_out]
        return predict(_on_one_thread(trainer, features[~held_out], target[~held_out], task, given), features[held_out], task)

    predictions = np.full(len(features), np.nan)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for held_out, predicted in zip(blocks, pool.map(predict_block, blocks), strict=True):
            predictions[held_out] = predicted
    return predictions


def _on_one_thread(
    trainer: Trainer, features: pd.DataFrame, target: pd.Series, task: Task, weights: pd.Series | None = None
) -> Any:
    given = {"sample_weight": weights} if weights is not None and takes_weights(trainer) else {}
    with _one_thread():
        return trainer(features, target, task, **given)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Without OpenMP's own threads: models are trained and asked side by side, and on some ten thousand rows its threads mostly
    wait for each other, which costs a fit on a busy machine twenty times its processor time.

    The limit holds for libraries that are loaded already, so scikit-learn's is loaded first.
    """
    import sklearn.ensemble  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="openmp"):
        yield


def train_candidate(
    trainer: Trainer,
    features: pd.DataFrame,
    target: pd.Series,
    days: pd.Series,
    task: Task,
    *,
    minimum_rows: int,
    folds: int = FOLDS,
    weights: pd.Series | None = None,
) -> Candidate:
    """Train on every labelled row, and measure by cross-validation what to expect on days it has not seen.

    Parameters
    ----------
    features, target, days : one row per prediction, on one index. Rows whose target is missing are left out.
    minimum_rows : labelled rows below which nothing is trained.
    weights : how many rows each row stands for, on the same index. The metric takes them, and the trainer if it has a
        parameter `sample_weight`.

    Raises
    ------
    NotEnoughLabels
        When there are fewer than `minimum_rows` labelled rows, or only one class, or only one day.
    """
    labelled = target.notna().to_numpy()
    features, target, days = features[labelled], target[labelled].astype("float64"), days[labelled]
    weights = None if weights is None else weights[labelled]
    if len(target) < max(minimum_rows, 1):
        raise NotEnoughLabels(f"training needs at least {minimum_rows:,} labelled rows, found {len(target):,}")
    _need_two_classes(target, task, "in the training data")
    with ThreadPoolExecutor(1) as beside:
        final = beside.submit(_on_one_thread, trainer, features, target, task, weights)
        out_of_fold = cross_validated_predictions(trainer, features, target, days, task, folds=folds, weights=weights)
    metric = PRIMARY_METRIC[task]
    return Candidate(
        model=final.result(),
        out_of_fold=pd.Series(out_of_fold, index=features.index, name="out_of_fold"),
        metric=metric,
        metric_value=realised_metrics(target.to_numpy(), out_of_fold, None, task, weights=weights)[metric],
        row_count=len(target),
        first_day=pd.Timestamp(days.min()).date(),
        last_day=pd.Timestamp(days.max()).date(),
        data_digest=data_digest(features.assign(**{"\0target": target, "\0day": days})),
        is_weighted=weights is not None and takes_weights(trainer),
    )


def _need_two_classes(target: pd.Series, task: Task, where: str) -> None:
    classes = sorted(pd.unique(target))
    if task == "classification" and classes != [0, 1]:
        raise NotEnoughLabels(f"training needs labels 0 and 1, found only {[f'{c:g}' for c in classes]} {where}")


def data_digest(rows: pd.DataFrame) -> str:
    """The sha256 of all rows' content, whatever the order of rows and columns; equal for 1 and 1.0, for None and NaN.

    Examples
    --------
    >>> first = pd.DataFrame({"amount": [1, 2], "country": ["NL", None]})
    >>> second = pd.DataFrame({"country": [None, "NL"], "amount": [2.0, 1.0]})
    >>> data_digest(first) == data_digest(second)
    True
    >>> data_digest(first) == data_digest(first.head(1))
    False
    """
    columns = {str(name): _coded(rows[name]) for name in sorted(rows.columns, key=str)}
    plain = pd.DataFrame({name: values for name, (values, _) in columns.items()}, copy=False)
    # The 64-bit row hashes only give the rows an order of their own; what is digested is the content itself.
    order = np.argsort(pd.util.hash_pandas_object(plain, index=False).to_numpy(), kind="stable")
    digest = sha256(json.dumps([len(plain), list(columns)]).encode())
    for name, (_, categories) in columns.items():
        digest.update(plain[name].to_numpy()[order].tobytes())
        digest.update(json.dumps(categories).encode())
    return digest.hexdigest()


def _coded(column: pd.Series) -> tuple[np.ndarray, list[str] | None]:
    """Numbers as float64 with one NaN and one zero; anything else as the places of its sorted texts, -1 where missing."""
    if pd.api.types.is_numeric_dtype(column):
        numbers = column.to_numpy(dtype="float64", na_value=np.nan) + 0.0
        return np.where(np.isnan(numbers), np.nan, numbers), None
    texts = column.astype(object).where(column.isna(), column.astype(str).astype(object))
    codes, categories = pd.factorize(texts, sort=True)
    return codes.astype("int64"), [str(category) for category in categories]
