"""What a YAML may say of an engine, and what declaring one costs those who declare none."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from monitoring_assets.engines.executor import versions
from monitoring_assets.engines.spark_session import session_of, spark_errors
from monitoring_assets.errors import EngineUnusable, MonitoringError, PermanentError, SourceUnavailable, SourceUnreadable
from monitoring_assets.monitor_spec import Spark
from monitoring_assets_tests.example_monitor import example_spec

LOG, LABELS = {"table": "lake.db.predictions"}, {"table": "lake.db.labels", "day_column": "ds"}
ENGINE = {"spark": {"remote": "sc://spark:15002"}}


def test_rows_in_a_lake_are_named_by_their_table_and_the_engine_that_knows_it() -> None:
    spec = example_spec(Path(), engine=ENGINE, log=LOG, labels=LABELS)
    assert spec.is_in_lake
    assert (spec.log.kind, spec.log.day_column, spec.log.is_per_day, spec.log.is_watched) == ("table", "day", True, False)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"log": LOG, "labels": LABELS}, "log.table needs the engine that knows the table"),
        ({"engine": ENGINE, "labels": LABELS}, "`log` must name a `table`, found `path`"),
        ({"engine": ENGINE, "log": LOG}, "`labels` must name a `table`, found `path`"),
        ({"engine": {"spark": {}}, "log": LOG, "labels": LABELS}, "give one of `remote`, `remote_env` and `master`, found none"),
        ({"engine": {"spark": {"remote": "sc://h", "master": "yarn"}}, "log": LOG}, "found remote and master"),
        ({"engine": {"spark": {"remote": "sc://h:1/;token=abc"}}, "log": LOG}, "may not hold a token"),
        ({"engine": {"spark": {"remote": "http://h"}}, "log": LOG}, "engine.spark.remote"),
        ({"log": {"path": "log/{day}.parquet", "day_column": "ds"}}, "`day_column` is for a `table`"),
        ({"log": {"path": "log/{day}.parquet", "table": "t"}}, "found path and table"),
    ],
)
def test_what_contradicts_itself_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match="(?s)" + said.replace("`", ".").replace("{", ".")):
        example_spec(Path(), **given)


@pytest.mark.slow
def test_executors_need_few_packages_and_who_declares_no_engine_imports_no_spark() -> None:
    heavy = "('dagster', 'pandas', 'sklearn', 'scipy', 'mlflow', 'great_expectations', 'pyspark')"
    for module in ("monitoring_assets.engines.executor", "monitoring_assets.engines.day_rows"):
        code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    code = "import sys, monitoring_assets.definitions; print('pyspark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("PythonException: ... ModuleNotFoundError: No module named 'monitoring_assets'", EngineUnusable, "no Python module"),
        ("RuntimeError: monitoring-assets: this executor is unlike the driver: duckdb 1.0", EngineUnusable, "duckdb 1.0"),
        (
            "[PYTHON_VERSION_MISMATCH] worker has 3.9, driver 3.11",
            EngineUnusable,
            "3.9",
        ),
        ("SparkConnectGrpcException: UNAVAILABLE: failed to connect to ipv4:127.0.0.1", SourceUnavailable, "was lost"),
        ("Py4JJavaError: Job 3 cancelled because SparkContext was shut down", SourceUnavailable, "was lost"),
        ("AnalysisException: [TABLE_OR_VIEW_NOT_FOUND] The table `a`.`b` cannot be found", SourceUnreadable, "no such table"),
        ("something else entirely", SourceUnreadable, "something else"),
    ],
)
def test_an_error_of_spark_says_what_is_wrong_and_whether_to_try_again(text: str, kind: type[MonitoringError], said: str) -> None:
    spark = Spark(master="spark://10.0.0.1:7077")
    with pytest.raises(kind, match=said) as raised, spark_errors(spark, "example, table a.b"):
        raise RuntimeError(text)
    assert "example, table a.b" in str(raised.value)
    assert issubclass(kind, PermanentError) == (kind is not SourceUnavailable)


def test_the_address_of_spark_may_be_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROD_SPARK", raising=False)
    with pytest.raises(EngineUnusable, match="PROD_SPARK must hold the address of Spark Connect"):
        session_of(Spark(remote_env="PROD_SPARK"))
    monkeypatch.setenv("PROD_SPARK", "s3cr3t")
    with pytest.raises(EngineUnusable) as raised:
        session_of(Spark(remote_env="PROD_SPARK"))
    assert "s3cr3t" not in str(raised.value)


def test_versions_name_what_results_depend_on() -> None:
    assert set(versions()) == {"Python", "duckdb", "pyarrow", "monitoring-assets"}
