"""Drift of the predictions is of the model that serves: of its own rows on the day it took over, and beside another model."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitoring_assets.baselines.building import build_candidate_baseline
from monitoring_assets.baselines.in_force import put_in_force
from monitoring_assets.drift.daily_scores import score_history
from monitoring_assets.monitor_spec import MonitorSpec, days_between
from monitoring_assets.profiling.daily_profiles import profile_days
from monitoring_assets_tests.example_monitor import (
    contents,
    example_rows,
    example_spec,
    example_warehouse,
    reference_baseline,
    write_day,
    write_reference,
)
from monitoring_assets_tests.ingested_days import ingest_log

pytestmark = pytest.mark.slow

ROWS = 600
REFERENCE = days_between(date(2026, 2, 1), date(2026, 2, 14))
OLD, CHANGE, BESIDE, ABSENT = days_between(date(2026, 3, 2), date(2026, 3, 5))
DAYS = [OLD, CHANGE, BESIDE, ABSENT]
PREDICTED = ("score", "prediction_confidence")


def spec_of(home: Path, names_version: bool = True, **overrides: Any) -> MonitorSpec:
    prediction = {"score": "score", "class": "predicted"} | ({"model_version": "model"} if names_version else {})
    drift = {"windows_days": [1], "multivariate_methods": []}
    settings = {"drift": drift, "retrain": {"drift_window_days": 1}, "segments": ["country"], "prediction": prediction}
    return example_spec(home, **settings | {"reference": {"path": "reference.parquet"}} | overrides)


def served(day: date) -> pd.DataFrame:
    """Version 2, whose scores are far from the baseline's, serves all of the first day, the morning of the second, every other
    request of the third, and all of the fourth; else version 3 serves, and all it says is as in the baseline."""
    rows = example_rows(day, ROWS)
    place = np.arange(ROWS)
    by_old = {OLD: place >= 0, CHANGE: place < ROWS // 2, BESIDE: place % 2 == 0, ABSENT: place >= 0}[day]
    away = np.clip(0.1 + rows["score"] / 10, 0, 1)
    return rows.assign(model=np.where(by_old, "2", "3"), score=np.where(by_old, away, rows["score"]))


def promote(home: Path, spec: MonitorSpec, day: date = CHANGE) -> None:
    scored = pd.concat([example_rows(each, ROWS).assign(day=each) for each in REFERENCE])[["day", "score", "country"]]
    with example_warehouse(home, spec) as connection:
        build_candidate_baseline(connection, spec, scored, "3", "auc", 0.72)
        put_in_force(connection, spec, "3", day)


def profiled(home: Path, spec: MonitorSpec, frames: dict[date, pd.DataFrame]) -> None:
    write_reference(home, REFERENCE, ROWS)
    for day, frame in frames.items():
        write_day(home, day, frame=frame)
    with example_warehouse(home, spec) as connection:
        reference_baseline(connection, spec)
        ingest_log(connection, spec, list(frames))
        profile_days(connection, spec, list(frames))
    promote(home, spec)


def scored(home: Path, spec: MonitorSpec) -> pd.DataFrame:
    """The worst severity, the rows and the reason by day, segment and column."""
    parts = score_history(lambda: example_warehouse(home, spec), spec, DAYS)
    frame = pd.concat([part.scores for part in parts]).fillna({"segment": "all"})
    return frame.groupby(["day", "segment", "feature"]).agg(
        severities=("severity", lambda each: set(each.dropna())), rows=("current_rows", "max"), reason=("reason", "first")
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, store: str) -> Path:
    home = tmp_path_factory.mktemp("versions")
    profiled(home, spec_of(home), {day: served(day) for day in DAYS})
    return home


def test_the_new_champions_drift_of_score_uses_only_its_own_rows(home: Path) -> None:
    found = scored(home, spec_of(home))
    for day in (CHANGE, BESIDE):
        assert found.loc[day, "all", "amount"]["rows"] == ROWS
        for column in PREDICTED:
            assert found.loc[day, "all", column]["rows"] == ROWS // 2
            assert found.loc[day, "all", column]["severities"] == {"ok"}, (day, column)
        by_segment = found.loc[day].loc[[f"country={country}" for country in ("US", "DE", "JP")]].xs("score", level="feature")
        assert by_segment["rows"].sum() == ROWS // 2
        assert set().union(*by_segment["severities"]) == {"ok"}
    # Before it was promoted the reference judged whatever was served.
    assert found.loc[OLD, "all", "score"]["rows"] == ROWS
    assert "severe" in found.loc[OLD, "all", "score"]["severities"]


def test_a_model_that_made_no_prediction_of_the_day_is_not_judged_by_anothers(home: Path) -> None:
    found = scored(home, spec_of(home)).loc[ABSENT, "all", "score"]
    assert (found["rows"], found["severities"], found["reason"]) == (0, set(), "0 rows of version 3, 30 needed")


def test_without_versions_in_the_monitor_a_day_of_two_models_is_judged_as_a_whole(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, names_version=False)
    profiled(tmp_path, spec, {day: served(day).drop(columns="model") for day in DAYS})
    found = scored(tmp_path, spec).loc[CHANGE, "all", "score"]
    assert found["rows"] == ROWS
    assert "severe" in found["severities"]


def test_rows_without_a_version_are_the_serving_models_and_a_history_without_any_goes_by_the_day(tmp_path: Path) -> None:
    spec, frame = spec_of(tmp_path), served(BESIDE)
    unnamed = frame.assign(model=[None if place % 4 == 1 else model for place, model in enumerate(frame["model"])])
    profiled(tmp_path, spec, {OLD: served(OLD), CHANGE: served(CHANGE), BESIDE: unnamed, ABSENT: served(ABSENT)})
    with example_warehouse(tmp_path, spec) as connection:  # as an earlier version of the package stored the day
        connection.execute("DELETE FROM example.daily_profile WHERE segment LIKE '%model=%' AND day = ?", [CHANGE])
    found = scored(tmp_path, spec)
    assert found.loc[BESIDE, "all", "score"]["rows"] == ROWS // 2
    assert found.loc[CHANGE, "all", "score"]["rows"] == ROWS


def test_the_versions_of_a_day_add_up_to_it_and_days_end_the_same_however_they_are_grouped(tmp_path: Path) -> None:
    """A regression, whose values ask for finer grids on a later day: those of earlier days are divided too, of all versions."""
    value = {
        "prediction": {"value": "score", "model_version": "model"},
        "label": None,
        "labels": None,
        "retrain": {"enabled": False, "drift_window_days": 1},
    }
    random = np.random.default_rng(0)
    frames = {day: served(day) for day in (OLD, CHANGE, BESIDE)}
    for place, (day, frame) in enumerate(frames.items()):
        frames[day] = frame.assign(score=frame["score"] + (place > 0) * random.normal(1e6, 1, ROWS)).drop(columns="predicted")
    reference = pd.concat([example_rows(each, ROWS) for each in REFERENCE]).drop(columns="predicted")

    def profiles(home: Path, *groups: list[date]) -> list[tuple[Any, ...]]:
        spec = spec_of(home, **value)
        write_reference(home, frame=reference)
        for day, frame in frames.items():
            write_day(home, day, frame=frame)
        with example_warehouse(home, spec) as connection:
            reference_baseline(connection, spec)
            ingest_log(connection, spec, list(frames))
            for days in groups:
                profile_days(connection, spec, days)
            counted = connection.execute(
                "SELECT day, sum(row_count) FILTER (starts_with(segment, 'model=')), sum(row_count) FILTER (segment IS NULL), "
                "sum(list_sum(counts)) FILTER (starts_with(segment, 'country & model=')) "
                "FROM example.daily_profile WHERE feature = 'score' GROUP BY day ORDER BY day"
            ).fetchall()
            assert counted == [(day, ROWS, ROWS, ROWS) for day in frames]
            return contents(connection, spec, "daily_profile")["daily_profile"]

    one_by_one = [[day] for day in frames]
    assert profiles(tmp_path / "days", *one_by_one) == profiles(tmp_path / "together", list(frames))
