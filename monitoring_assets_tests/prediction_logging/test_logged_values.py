"""Laws of what is logged: any value has one text or number, and what does not fit is kept as text."""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring_assets.errors import LoggerMisconfigured
from monitoring_assets.prediction_logging.prediction_logger import PredictionLogger
from monitoring_assets_tests.prediction_logging.logged_files import COLUMNS, dropped, ids, rows, segments


class Wordless:
    def __str__(self) -> str:
        raise RuntimeError


ODD_NUMBERS = ["abc", Wordless(), object(), 10**400, [1.0], np.datetime64("2026-01-01"), complex(1, 2)]
ODD_CATEGORIES = [7, 7.0, True, None, float("nan"), np.int64(7), b"\xff", "\ud800", Wordless(), pd.NA]
NUMBERS = [1, 1.5, True, np.float32(0.5), np.int64(3), np.bool_(True), Decimal("2.5"), 2**60 + 1, None, pd.NA, float("inf")]


def test_numbers_of_every_type_are_numbers(tmp_path) -> None:
    with PredictionLogger(tmp_path, COLUMNS) as logger:
        for value in NUMBERS:
            logger.log({"amount": value}, 0.5)
    (segment,) = segments(tmp_path)
    assert pq.read_schema(segment).field("amount").type == pa.float64()
    assert [row["amount"] for row in rows(tmp_path)] == [
        1, 1.5, 1, 0.5, 3, 1, 2.5, float(2**60 + 1), None, None, float("inf"),
    ]  # fmt: skip


def test_a_category_is_the_same_text_whatever_its_type(tmp_path) -> None:
    with PredictionLogger(tmp_path, COLUMNS) as logger:
        for value in ODD_CATEGORIES:
            logger.log({"country": value}, 0.5)
    assert [row["country"] for row in rows(tmp_path)] == [
        "7", "7", "true", None, None, "7", "\\xff", "\\ud800", "<Wordless without text>", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "bad", [{"amount": value} for value in ODD_NUMBERS] + [{"at": "noon"}, {"at": float("nan")}, {"at": 1e300}]
)
def test_a_row_that_does_not_fit_is_kept_as_text_beside_its_neighbours(tmp_path, bad: dict) -> None:
    with PredictionLogger(tmp_path, COLUMNS) as logger:
        for place, values in enumerate([{"amount": 1}, bad, {"amount": 2}]):
            logger.log({"amount": values.get("amount")}, 0.5, prediction_id=str(place), at=values.get("at"))
    assert ids(tmp_path) == ["0", "1", "2"]
    (odd,) = [path for path in segments(tmp_path) if path.stem.endswith("-text")]
    assert pq.read_table(odd)["prediction_id"].to_pylist() == ["1"]
    assert set(pq.read_schema(odd).types) == {pa.string()}


def test_only_named_features_are_written_and_a_role_can_be_left_out(tmp_path) -> None:
    with PredictionLogger(tmp_path, COLUMNS, predicted_class=None, error=None, score="risk") as logger:
        logger.log({"amount": 1, "password": "secret", "risk": 7}, 0.25, predicted_class="1")
        features = {"amount": 2.0, "country": "DE"}
        logger.log(features, 0.5)
        features["amount"] = 99.0
    assert [(row["amount"], row["country"], row["risk"]) for row in rows(tmp_path)] == [(1, None, 0.25), (2, "DE", 0.5)]
    assert set(rows(tmp_path)[0]) - {"day"} == {
        "prediction_id", "at", "risk", "model_version", "latency_ms", "sampling_weight", "amount", "country",
    }  # fmt: skip


def test_a_day_is_a_day_of_the_zone(tmp_path) -> None:
    with PredictionLogger(tmp_path, COLUMNS, time_zone="America/New_York") as logger:
        logger.log({}, 0.5, at=datetime(2026, 3, 3, 4, 59, tzinfo=UTC), prediction_id="late on the 2nd")
        logger.log({}, 0.5, at=datetime(2026, 3, 3, 5, 0, tzinfo=UTC), prediction_id="the 3rd")
        logger.log({}, 0.5, at=datetime(2026, 3, 2, 0, 0), prediction_id="local")
        logger.log({}, 0.5, at=pd.Timestamp("2026-03-08 23:59:59.999999"), prediction_id="a day of 23 hours")
    found = {
        row["prediction_id"]: path.parent.name for path in segments(tmp_path) for row in pq.ParquetFile(path).read().to_pylist()
    }
    assert found == {
        "late on the 2nd": "day=2026-03-02", "the 3rd": "day=2026-03-03", "local": "day=2026-03-02",
        "a day of 23 hours": "day=2026-03-08",
    }  # fmt: skip


@pytest.mark.parametrize("call", [lambda log: log(None, 0.5), lambda log: log(7, 0.5), lambda log: log(["amount"], 0.5)])
def test_features_that_are_no_mapping_are_counted_and_not_raised(tmp_path, call) -> None:
    with PredictionLogger(tmp_path, COLUMNS) as logger:
        call(logger.log)
        assert (logger.stats.dropped, logger.stats.errors) == (1, 1)
        assert "TypeError" in logger.stats.last_error
    assert dropped(tmp_path) == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sampling_rate": 0}, "above 0 and at most 1, found 0"),
        ({"flush_rows": 10, "buffer_rows": 5}, "at most buffer_rows 5, found 10"),
        ({"flush_seconds": 0}, "above 0"),
        ({"time_zone": "Mars"}, "'Mars' is unknown"),
        ({"columns": {"amount": "float"}}, "'amount' is numeric or categorical, found 'float'"),
        ({"columns": {"Score": "numeric"}}, "'score' has two roles"),
        ({"columns": {"day": "numeric"}}, "may not be called 'day'"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, settings: dict, says: str) -> None:
    with pytest.raises(LoggerMisconfigured, match=says):
        PredictionLogger(tmp_path, **({"columns": COLUMNS} | settings))
