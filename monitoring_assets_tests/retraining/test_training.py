"""Laws of training: what the default trainer survives, and what honest means."""

import os
import subprocess
import sys
from datetime import date

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, Perceptron

from monitoring_assets.errors import NotEnoughLabels
from monitoring_assets.retraining.training import (
    TrainerUnusable,
    cross_validated_predictions,
    data_digest,
    gradient_boosting,
    load_trainer,
    predict,
    train_candidate,
)

pytestmark = pytest.mark.long

ROWS = 600


@pytest.fixture(scope="module")
def features() -> pd.DataFrame:
    random = np.random.default_rng(0)
    country = pd.Series(random.choice(["NL", "BE", "DE", None], ROWS), dtype=object)
    return pd.DataFrame({"country": country, "amount": random.normal(size=ROWS)})


@pytest.fixture(scope="module")
def target(features: pd.DataFrame) -> pd.Series:
    noise = np.random.default_rng(1).normal(size=ROWS)
    return ((features["country"] == "NL") * 2 + features["amount"] + noise > 0.5).astype(float)


@pytest.fixture(scope="module")
def days() -> pd.Series:
    return pd.Series(pd.date_range("2026-01-01", periods=6).date.repeat(ROWS // 6))


@pytest.fixture(scope="module")
def model(features: pd.DataFrame, target: pd.Series):
    return gradient_boosting(features, target, "classification")


def test_importing_the_modules_loads_neither_mlflow_nor_scikit_learn() -> None:
    code = (
        "import sys, monitoring_assets.retraining.registry, monitoring_assets.retraining.gate, "
        "monitoring_assets.retraining.training, monitoring_assets.demo.flights; "
        "print(sorted({'mlflow', 'sklearn', 'dagster', 'skops'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_first_model_of_a_process_is_trained_and_asked_on_one_thread_too() -> None:
    code = """
import pandas as pd
from monitoring_assets.retraining.training import train_candidate

seen = []

class Model:
    classes_ = [0, 1]

    def predict_proba(self, features):
        note_threads()
        return pd.DataFrame({0: 0.5, 1: features["x"]}).to_numpy()

def note_threads():
    import sklearn.ensemble  # loads OpenMP, as the default trainer does
    from threadpoolctl import threadpool_info
    seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp")

def train(features, target, task):
    note_threads()
    return Model()

days = pd.Series(pd.date_range("2026-01-01", periods=4).repeat(5))
x = pd.Series([0.0, 1.0] * 10)
train_candidate(train, pd.DataFrame({"x": x}), x, days, "classification", minimum_rows=1)
print(len(seen) >= 7, set(seen))
"""
    environment = os.environ | {"OMP_NUM_THREADS": "3"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert found.stdout == "True {1}\n"


@pytest.mark.parametrize(
    "country",
    [
        pd.Series([None, None], dtype=object),
        pd.Series([np.nan, np.nan]),
        pd.Series(["FR", "NL"]),
        pd.Series(["NL", None], dtype="string"),
        pd.Series(["NL", None], dtype="category"),
    ],
    ids=["all null", "all NaN", "unseen", "pandas string", "category"],
)
@pytest.mark.parametrize("amount", [pd.Series([np.nan, np.nan]), pd.Series([1, None], dtype="Int64")], ids=["NaN", "Int64"])
def test_odd_columns_predict_a_probability(model, country: pd.Series, amount: pd.Series) -> None:
    scores = predict(model, pd.DataFrame({"amount": amount, "unknown_column": 1, "country": country}), "classification")
    assert scores.shape == (2,)
    assert ((scores > 0) & (scores < 1)).all()


def test_an_unseen_category_is_scored_as_a_missing_one(model) -> None:
    rows = pd.DataFrame({"country": ["Atlantis", None], "amount": [0.3, 0.3]})
    unseen, missing = predict(model, rows, "classification")
    assert unseen == missing


@pytest.mark.parametrize("kind", ["object", "string", "category"])
@pytest.mark.parametrize("categories", [2, 254, 255, 700])
def test_training_takes_any_number_of_categories_with_nulls(kind: str, categories: int) -> None:
    names = pd.Series([f"k{i % categories}" for i in range(1500)]).where(np.arange(1500) % 7 > 0, None)
    target = pd.Series(np.arange(1500) % 2, dtype=float)
    model = gradient_boosting(pd.DataFrame({"name": names.astype(kind)}), target, "classification")
    assert len(predict(model, pd.DataFrame({"name": ["k1", "new", None]}), "classification")) == 3


def test_a_feature_that_was_never_observed_is_left_out(features: pd.DataFrame, target: pd.Series, model) -> None:
    empty = features.assign(broken=np.nan, absent=pd.Series([None] * ROWS, dtype=object))
    with_empty = gradient_boosting(empty, target, "classification")
    later = empty.assign(broken=1.0, absent="here")
    assert (predict(with_empty, later, "classification") == predict(model, features, "classification")).all()


def test_regression_predicts_values(features: pd.DataFrame) -> None:
    model = gradient_boosting(features, features["amount"] * 100, "regression")
    assert np.corrcoef(predict(model, features, "regression"), features["amount"])[0, 1] > 0.95


def test_no_rows_give_no_predictions(model, features: pd.DataFrame) -> None:
    assert predict(model, features.head(0), "classification").shape == (0,)


def test_a_classifier_without_probabilities_is_refused(features: pd.DataFrame, target: pd.Series) -> None:
    with pytest.raises(TrainerUnusable, match="Perceptron has none"):
        predict(Perceptron().fit(features[["amount"]], target), features[["amount"]], "classification")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_package.train", "importing 'no_such_package' failed: ModuleNotFoundError"),
        ("monitoring_assets.no_module.train", "importing 'monitoring_assets.no_module' failed"),
        ("monitoring_assets.retraining.training.absent", "has no 'absent'"),
        ("monitoring_assets.retraining.training.FOLDS", "holds a int called 'FOLDS'"),
        ("nodots", "importing '' failed"),
    ],
)
def test_a_wrong_trainer_path_is_named_with_what_is_missing(path: str, message: str) -> None:
    with pytest.raises(TrainerUnusable, match=message) as raised:
        load_trainer(path)
    assert repr(path) in str(raised.value)


def test_no_day_is_predicted_by_a_model_that_saw_it(features, target, days) -> None:
    fits = []

    def remember_days(features: pd.DataFrame, target: pd.Series, task: str):
        fits.append(set(features["day"]))
        return LinearRegression().fit(features[["amount", "day"]], target)

    numbered = features[["amount"]].assign(day=pd.factorize(days)[0])
    shuffled = np.random.default_rng(2).permutation(ROWS)
    found = cross_validated_predictions(
        remember_days, numbered.iloc[shuffled], target.iloc[shuffled], days.iloc[shuffled], "regression", folds=3
    )
    assert sorted(map(sorted, fits)) == [[0, 1, 2, 3], [0, 1, 4, 5], [2, 3, 4, 5]]
    # In the order of the rows, however they lie.
    in_order = cross_validated_predictions(remember_days, numbered, target, days, "regression", folds=3)
    assert found == pytest.approx(in_order[shuffled])


def test_one_day_cannot_be_cross_validated(features, target, days) -> None:
    one_day = pd.Series([date(2026, 1, 1)] * ROWS)
    with pytest.raises(NotEnoughLabels, match="at least 2 days, found 1"):
        cross_validated_predictions(gradient_boosting, features, target, one_day, "classification")


def test_an_informative_feature_is_found_and_noise_is_not(features, target, days) -> None:
    known = train_candidate(gradient_boosting, features, target, days, "classification", minimum_rows=100)
    chance = pd.Series(np.random.default_rng(3).integers(0, 2, ROWS))
    noise = train_candidate(gradient_boosting, features, chance, days, "classification", minimum_rows=100)
    assert known.metric == "auc"
    assert known.metric_value > 0.75
    assert 0.4 < noise.metric_value < 0.6


def test_a_candidate_tells_its_rows_days_and_data(features, target, days) -> None:
    gaps = target.where(days > date(2026, 1, 1))
    candidate = train_candidate(gradient_boosting, features, gaps, days, "classification", minimum_rows=500)
    assert (candidate.row_count, candidate.first_day, candidate.last_day) == (500, date(2026, 1, 2), date(2026, 1, 6))
    assert list(candidate.out_of_fold.index) == list(features.index[100:])
    again = train_candidate(gradient_boosting, features, gaps, days, "classification", minimum_rows=500)
    assert again.data_digest == candidate.data_digest
    assert again.out_of_fold.equals(candidate.out_of_fold)


def test_too_few_labels_or_one_class_train_nothing(features, target, days) -> None:
    with pytest.raises(NotEnoughLabels, match="at least 1,000 labelled rows, found 600"):
        train_candidate(gradient_boosting, features, target, days, "classification", minimum_rows=1000)
    with pytest.raises(NotEnoughLabels, match=r"found only \['0'\] in the training data"):
        train_candidate(gradient_boosting, features, target * 0, days, "classification", minimum_rows=100)
    with pytest.raises(NotEnoughLabels, match="found 0"):
        train_candidate(gradient_boosting, features, target * np.nan, days, "classification", minimum_rows=1)
    only_first_day = pd.Series(np.where(days == date(2026, 1, 1), np.arange(ROWS) % 2, 0))
    with pytest.raises(NotEnoughLabels, match="without 2026-01-01"):
        train_candidate(gradient_boosting, features, only_first_day, days, "classification", minimum_rows=100)


def test_the_digest_knows_content_not_order(features: pd.DataFrame) -> None:
    digest = data_digest(features)
    assert data_digest(features.sample(frac=1, random_state=0)) == digest
    assert data_digest(features[["amount", "country"]]) == digest
    assert data_digest(features.astype({"country": "category"})) == digest
    assert data_digest(pd.concat([features, features.tail(1)])) != digest
    assert data_digest(features.rename(columns={"amount": "price"})) != digest
    changed = features.copy()
    changed.loc[ROWS - 1, "amount"] += 1e-9
    assert data_digest(changed) != digest


def test_the_digest_keeps_values_of_a_row_together() -> None:
    assert data_digest(pd.DataFrame({"a": [1, 2], "b": [1, 2]})) != data_digest(pd.DataFrame({"a": [1, 2], "b": [2, 1]}))


def test_a_model_of_a_weighted_sample_is_about_the_model_of_all_rows() -> None:
    random = np.random.default_rng(5)
    # Few distinct values, so that both models know each of them well.
    rows = pd.DataFrame({"amount": random.integers(-2, 3, 20_000), "other": random.integers(0, 2, 20_000)}).astype("float64")
    chance = 1 / (1 + np.exp(-(rows["amount"] - 1.5)))
    late = (random.random(len(rows)) < chance).astype(float)
    # All of class 1 is logged, and one in ten of the others, as a logger does that keeps what is rare.
    kept = (late == 1) | (random.random(len(rows)) < 0.1)
    weights = pd.Series(np.where(late == 1, 1.0, 10.0), index=rows.index)
    unseen = rows.drop_duplicates()

    def predicted(sample: pd.Series, weight: pd.Series | None) -> np.ndarray:
        return predict(gradient_boosting(rows[sample], late[sample], "classification", weight), unseen, "classification")

    full = predicted(late.notna(), None)
    # A value with 70 rows of class 0 left has a standard error of .03; three of them.
    assert np.abs(predicted(kept, weights[kept]) - full).max() < 0.09
    assert np.abs(predicted(kept, None) - full).max() > 0.3


def test_only_a_trainer_that_asks_for_weights_is_given_them(features, target, days) -> None:
    given: list[float] = []

    def weighted(features: pd.DataFrame, target: pd.Series, task: str, sample_weight: pd.Series):
        assert sample_weight.index.equals(features.index)
        given.append(float(sample_weight.sum()))
        return gradient_boosting(features, target, "classification", sample_weight)

    def plain(features: pd.DataFrame, target: pd.Series, task: str):
        return gradient_boosting(features, target, "classification")

    weights = pd.Series(2.0, index=features.index)
    asked = train_candidate(weighted, features, target, days, "classification", minimum_rows=1, weights=weights)
    assert asked.is_weighted
    assert max(given) == 2.0 * ROWS
    assert len(given) == 4  # the final model, and one of each of three folds
    assert not train_candidate(plain, features, target, days, "classification", minimum_rows=1, weights=weights).is_weighted
