"""The demo's data is what the README says it is."""

from importlib.metadata import PackageNotFoundError

import pandas as pd
import pytest

from monitoring_assets.demo import flights
from monitoring_assets.errors import SourceUnreadable
from monitoring_assets.performance.labelled_rows import realised_metrics
from monitoring_assets.retraining.training import gradient_boosting, predict

# AUC from March to December of the default model trained on January and February, measured before this code was written.
EXPECTED_AUC = [0.701, 0.633, 0.709, 0.690, 0.683, 0.659, 0.639, 0.642, 0.644, 0.681]


@pytest.fixture(scope="module")
def departures() -> pd.DataFrame:
    return flights.load_flights()


@pytest.mark.slow
def test_every_flight_is_there_once(departures: pd.DataFrame) -> None:
    assert len(departures) == 336_776
    assert departures["flight_id"].is_unique
    assert list(departures) == ["flight_id", "scheduled_departure", *flights.FEATURES, "late"]


def test_columns_have_the_types_of_their_kinds(departures: pd.DataFrame) -> None:
    for name, kind in flights.FEATURES.items():
        assert departures[name].dtype == ("float64" if kind == "numeric" else object)
    assert departures["scheduled_departure"].dtype == "datetime64[ns]"
    assert departures["scheduled_departure"].is_monotonic_increasing


def test_no_departure_falls_into_an_hour_the_clock_skipped_or_repeated(departures: pd.DataFrame) -> None:
    local = departures["scheduled_departure"].dt.tz_localize("America/New_York", ambiguous="raise", nonexistent="raise")
    assert local.notna().all()


def test_lateness_is_known_for_all_flights_that_arrived(departures: pd.DataFrame) -> None:
    assert departures["late"].isna().sum() == 9_430
    assert set(departures["late"].dropna()) == {0.0, 1.0}


def test_a_flight_can_be_checked_by_hand(departures: pd.DataFrame) -> None:
    first = departures.set_index("flight_id").loc["2013-01-01-UA-1545-EWR-IAH-0515"]
    assert first["scheduled_departure"] == pd.Timestamp("2013-01-01 05:15")
    assert (first["hour"], first["weekday"], first["distance"], first["temp"]) == (5, 1, 1400, 39.02)
    assert first["late"] == 0.0


@pytest.mark.slow
def test_the_default_model_decays_as_the_demo_shows(departures: pd.DataFrame) -> None:
    arrived = departures[departures["late"].notna()]
    month = arrived["scheduled_departure"].dt.month
    features = arrived[list(flights.FEATURES)]
    model = gradient_boosting(features[month <= 2], arrived["late"][month <= 2], "classification")
    scores = predict(model, features, "classification")
    auc = [realised_metrics(arrived["late"][month == m], scores[month == m], None, "classification")["auc"] for m in range(3, 13)]
    assert auc == pytest.approx(EXPECTED_AUC, abs=0.015)


def test_a_missing_package_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(flights, "distribution", absent)
    with pytest.raises(SourceUnreadable, match=r"pip install 'monitoring-assets\[demo\]'"):
        flights.load_flights()
