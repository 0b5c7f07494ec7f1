"""Laws of sampling, of observed functions, and of what a monitor reads of a log."""

import asyncio
import json
import os
import threading
import time

import numpy as np
import pytest

from monitoring_assets.drift.distances import psi
from monitoring_assets.errors import LoggerMisconfigured
from monitoring_assets.prediction_logging.prediction_logger import PredictionLogger, high_risk, low_confidence
from monitoring_assets_tests.example_monitor import FIRST, SECOND, contents, example_spec, example_warehouse
from monitoring_assets_tests.ingested_days import ingest_log
from monitoring_assets_tests.measuring.profiles import grid_of, profile
from monitoring_assets_tests.prediction_logging.logged_files import COLUMNS, FOREVER, NOON, ids, rows, run, segments

# --- sampling --------------------------------------------------------------------------------------------------------


def test_a_tenth_of_the_log_shows_no_drift_with_its_weights_and_much_without(tmp_path) -> None:
    random, n = np.random.default_rng(7), 40_000
    score = random.beta(2, 5, n)
    amount = 100 * score + random.normal(0, 10, n)
    conditions = [high_risk(0.5), low_confidence(0.05)]
    with PredictionLogger(tmp_path, COLUMNS, sampling_rate=0.1, always_log=conditions) as logger:
        for a, s in zip(amount.tolist(), score.tolist(), strict=True):
            logger.log({"amount": a}, s)
    kept, reported = rows(tmp_path), logger.stats
    assert reported.logged + reported.sampled_out == n
    assert reported.logged == len(kept)
    certain = score >= 0.45
    assert sum(row["sampling_weight"] == 1 for row in kept) == certain.sum()
    # A row is kept with chance 0.1 and then weighs 10, so the sum of weights has a variance of 9 a row: four deviations of it.
    assert abs(sum(row["sampling_weight"] for row in kept) - n) < 4 * np.sqrt(9 * (n - certain.sum()))
    sample, weight = [row["amount"] for row in kept], [row["sampling_weight"] for row in kept]
    edges = np.quantile(amount, np.linspace(0, 1, 11)[1:-1])
    grid = grid_of(amount)

    def deciles(histogram) -> np.ndarray:
        return np.bincount(np.searchsorted(edges, histogram.support, side="right"), weights=histogram.counts[0], minlength=10)

    full = deciles(profile([amount], grid))
    weighted = psi(full, deciles(profile([sample], grid, weights=[weight]))[None])[0]
    unweighted = psi(full, deciles(profile([sample], grid))[None])[0]
    # Nine degrees of freedom of a sample of n / 10 rows: PSI has the mean 9 / (n / 10) and exceeds three times that once in 10^3.
    assert weighted < 3 * 9 / (n / 10)
    assert unweighted > 0.2


def test_an_error_and_a_predicate_are_always_logged_and_a_broken_one_is_reported(tmp_path) -> None:
    def of_a_kind(features, score) -> bool:
        return features["country"] == "JP"

    with PredictionLogger(tmp_path, COLUMNS, sampling_rate=1e-9, always_log=[of_a_kind, high_risk(0.9)]) as logger:
        logger.log({"country": "JP"}, 0.1, prediction_id="predicate")
        logger.log({"country": "DE"}, None, error="boom", prediction_id="error")
        logger.log({"country": "DE"}, 0.5, prediction_id="left out")
        logger.log({"amount": 3}, 0.95, prediction_id="another condition")
    assert ids(tmp_path) == ["another condition", "error", "predicate"]
    assert {row["sampling_weight"] for row in rows(tmp_path)} == {1.0}
    assert (logger.stats.sampled_out, logger.stats.errors, logger.stats.last_error) == (1, 1, "KeyError: 'country'")


# --- observing a function --------------------------------------------------------------------------------------------


def test_observe_logs_what_a_function_returns_how_long_it_took_and_what_it_raised(tmp_path) -> None:
    with PredictionLogger(tmp_path, COLUMNS) as logger:

        class Service:
            @logger.observe
            def predict(self, features, scale: float = 1.0):
                time.sleep(0.02)
                if features["amount"] < 0:
                    raise ValueError("negative amount")
                return features["amount"] * scale

        @logger.observe
        def with_names(features):
            return {"score": 0.9, "predicted_class": "1", "model_version": 3, "prediction_id": "mine"}

        assert Service().predict({"amount": 0.25}, scale=2) == 0.5
        assert with_names(features={"amount": 1})["score"] == 0.9
        with pytest.raises(ValueError, match="negative amount"):
            Service().predict({"amount": -1})
    first, named, failed = rows(tmp_path)
    assert (first["score"], first["error"]) == (0.5, None)
    assert first["latency_ms"] >= 20
    assert (named["prediction_id"], named["predicted_class"], named["model_version"]) == ("mine", "1", "3")
    assert (failed["score"], failed["error"]) == (None, "ValueError: negative amount")
    assert with_names.__name__ == "with_names"


def test_coroutines_are_observed_also_when_cancelled(tmp_path) -> None:
    async def serve() -> None:
        @logger.observe
        async def predict(features):
            await asyncio.sleep(features["amount"])
            return 0.5

        results = await asyncio.gather(*(predict({"amount": 0.001}) for _ in range(50)))
        assert results == [0.5] * 50
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(predict({"amount": FOREVER}), 0.01)
        assert await logger.log_async({"amount": 1}, 0.5, prediction_id="direct") == "direct"

    with PredictionLogger(tmp_path, COLUMNS) as logger:
        asyncio.run(serve())
    found = rows(tmp_path)
    assert len(found) == 52
    assert [row["error"] for row in found if row["error"]] == ["CancelledError: "]


# --- the monitor reads it --------------------------------------------------------------------------------------------

LOGGED = {
    "log": {"path": "log/day={day}/*.parquet"},
    "serving": {"latency_ms": "took_ms", "error": "failure"},
    "sampling_weight": "weight",
}


def test_what_a_monitors_logger_writes_the_monitor_accepts_and_odd_rows_it_quarantines(tmp_path) -> None:
    tmp_path /= "prod [eu]"
    spec = example_spec(tmp_path, **LOGGED)
    with PredictionLogger.for_monitor(spec, tmp_path) as logger:
        for place in range(10):
            features = {"amount": place, "items": 1, "country": "DE"}
            logger.log(features, 0.5, predicted_class=1, model_version=1, at=NOON, latency_ms=place, prediction_id=place)
        logger.log({"amount": "a lot"}, 0.5, at=NOON, prediction_id="odd")
        logger.log({"amount": 1}, None, at=NOON, prediction_id="failed", error="boom")
    with example_warehouse(tmp_path, spec) as connection:
        first, second = ingest_log(connection, spec, [FIRST, SECOND])
        tables = contents(connection, spec, "inference_log")
    assert (first.accepted_rows, first.quarantined_rows, first.reasons) == (11, 1, {"not a number": 1})
    assert second.delivered_rows == 0
    assert [row[1] for row in tables["inference_log"]] == [*map(str, range(10)), "failed"]


def test_a_logger_for_the_yaml_of_a_monitor_reads_the_environment(tmp_path, monkeypatch) -> None:
    content = json.loads(
        example_spec(tmp_path, **LOGGED | {"log": {"path": "LOGS/day={day}/*.parquet"}}).model_dump_json(by_alias=True)
    )
    text = json.dumps({"type": "monitoring_assets.components.ModelMonitor", "attributes": content})
    (tmp_path / "defs.yaml").write_text(text.replace("LOGS", "{{ env.LOGS }}"))
    with pytest.raises(LoggerMisconfigured, match="LOGS, which is not set"):
        PredictionLogger.for_monitor(tmp_path / "defs.yaml")
    monkeypatch.setenv("LOGS", str(tmp_path / "logs"))
    with PredictionLogger.for_monitor(tmp_path / "defs.yaml", sampling_rate=0.5, always_log=[low_confidence()]) as logger:
        logger.log({"amount": 1}, 0.5, at=NOON)
    assert [path.parent for path in segments(tmp_path / "logs")] == [tmp_path / "logs" / "day=2026-03-02"]


@pytest.mark.parametrize(
    "path", ["log/{day}.parquet", "log/*.parquet", "s3://bucket/log/day={day}/*.parquet", "{day}/day={day}/*.parquet"]
)
def test_a_monitor_that_reads_no_folder_per_day_is_refused(tmp_path, path: str) -> None:
    with pytest.raises(LoggerMisconfigured, match=r"Write it as FOLDER/day=\{day\}/\*\.parquet"):
        PredictionLogger.for_monitor(example_spec(tmp_path, log={"path": path}), tmp_path)


def test_a_sample_that_the_monitor_would_not_weigh_is_refused(tmp_path) -> None:
    with pytest.raises(LoggerMisconfigured, match="Add `sampling_weight: sampling_weight` to the monitor"):
        PredictionLogger.for_monitor(example_spec(tmp_path, **LOGGED | {"sampling_weight": None}), tmp_path, sampling_rate=0.1)


def test_importing_the_logger_loads_neither_arrow_nor_dagster() -> None:
    done = run("print({'pyarrow', 'dagster', 'duckdb', 'pandas', 'pydantic', 'numpy'} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stderr


def test_no_thread_is_left_behind(tmp_path) -> None:
    before = set(threading.enumerate())
    with PredictionLogger(tmp_path, COLUMNS) as logger:
        logger.log({}, 0.5)
        assert set(threading.enumerate()) != before
    assert set(threading.enumerate()) == before
    assert os.listdir(tmp_path)
