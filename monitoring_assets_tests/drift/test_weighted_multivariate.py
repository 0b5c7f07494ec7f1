"""Laws of all features together where the log is a weighted sample: what they say is what they would say of all predictions."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from monitoring_assets.drift.multivariate_scores import calibrate_samples, read_samples, score_samples
from monitoring_assets.drift.thresholds import read_thresholds
from monitoring_assets.monitor_spec import MonitorSpec, days_between
from monitoring_assets.prediction_logging import high_risk, low_confidence
from monitoring_assets.profiling.daily_profiles import profile_days
from monitoring_assets_tests.example_monitor import example_spec, example_warehouse, reference_baseline

pytestmark = pytest.mark.slow

PREDICTIONS = 3_000
REFERENCE = days_between(date(2026, 3, 2), date(2026, 3, 29))
QUIET = days_between(date(2026, 3, 30), date(2026, 5, 19))
FLIPPED = date(2026, 5, 20)
ALWAYS = (low_confidence(0.1), high_risk(0.9))
NUMBERS = ("a", "b", "c", "d")


def logged(day: date, sign: float = 1.0) -> pd.DataFrame:
    """A day of the README's recipe: every prediction of low confidence or high risk, with weight 1, and one in ten of the others
    with weight 10. The riskier a prediction, the wilder its features."""
    random = np.random.default_rng(day.toordinal())
    common = random.normal(size=PREDICTIONS)
    wild = np.exp(common / 4)
    values = {name: common * place / 4 + wild * random.normal(size=PREDICTIONS) for place, name in enumerate(NUMBERS)}
    values["d"] = sign * values["d"]
    frame = pd.DataFrame({"id": [f"{day}-{i}" for i in range(PREDICTIONS)], **values, "day": day})
    frame["score"] = 1 / (1 + np.exp(-2 * common - values["b"]))
    always = np.array([any(condition({}, score) for condition in ALWAYS) for score in frame["score"]])
    frame["stands_for"] = np.where(always, 1.0, 10.0)
    return frame[always | (random.random(PREDICTIONS) < 0.1)]


def put_rows(connection: duckdb.DuckDBPyConnection, frames: Sequence[pd.DataFrame]) -> None:
    connection.register("given", pd.concat(frames))
    connection.execute("INSERT INTO example.inference_log BY NAME SELECT * REPLACE (day::DATE AS day) FROM given")
    connection.unregister("given")


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory, store: str) -> pd.DataFrame:
    home: Path = tmp_path_factory.mktemp("weighted")
    spec: MonitorSpec = example_spec(
        home,
        features={name: {"kind": "numeric"} for name in NUMBERS},
        prediction={"score": "score"},
        sampling_weight="stands_for",
        label=None,
        labels=None,
        drift={"windows_days": [1, 7], "multivariate_methods": ["correlation", "pca_reconstruction"]},
        reference={"first_day": str(REFERENCE[0]), "last_day": str(REFERENCE[-1])},
    )
    with example_warehouse(home, spec) as connection:
        put_rows(connection, [*map(logged, [*REFERENCE, *QUIET]), logged(FLIPPED, sign=-1.0)])
        baseline = reference_baseline(connection, spec)
        days = [*QUIET, FLIPPED]
        profile_days(connection, spec, days_between(QUIET[0] - timedelta(days=6), FLIPPED))
        samples = read_samples(connection, spec, baseline.baseline_id, days)
    assert samples is not None
    thresholds = read_thresholds(calibrate_samples(spec, baseline.baseline_id, samples))
    return score_samples(spec, baseline.baseline_id, samples, days, thresholds)


def test_the_recipe_of_the_readme_alarms_on_no_more_than_one_quiet_day_in_fifty(scores: pd.DataFrame) -> None:
    quiet = scores[scores["day"] != FLIPPED]
    assert quiet["severity"].notna().all()
    alarmed = quiet.loc[quiet["severity"] != "ok", "day"].nunique()
    assert alarmed <= len(QUIET) / 50, f"{alarmed} of {len(QUIET)}"


def test_its_scores_are_not_biased(scores: pd.DataFrame) -> None:
    errors = scores[(scores["method"] == "pca_reconstruction") & (scores["window_days"] == 1) & (scores["day"] != FLIPPED)]
    ratios = errors["detail"].str.extract(r"error ([0-9.]+) times")[0].astype(float)
    assert ratios.mean() == pytest.approx(1.0, abs=0.01)


def test_a_relation_that_turns_round_is_still_found_on_its_first_day(scores: pd.DataFrame) -> None:
    found = scores[(scores["day"] == FLIPPED) & (scores["window_days"] == 1)]
    assert set(found["severity"]) <= {"moderate", "severe"}
