"""Laws of the check `accepted`: rows that a source delivers and the contract refuses are never lost without an alarm."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from monitoring_assets.monitor_spec import days_between
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import example_rows, write_day, write_labels

SOUND, TEXT, REPEATED, FEW, EMPTY, ABSENT = DAYS = days_between(date(2026, 3, 2), date(2026, 3, 7))
REFERENCE = {"first_day": "2026-03-02", "last_day": "2026-03-02"}
ROWS = 400


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory, store: str) -> Iterator[DagsterMonitor]:
    """Days read in one run; each but the first loses rows in its own way."""
    home = tmp_path_factory.mktemp("accepted")
    write_day(home, SOUND, frame=example_rows(SOUND, ROWS).assign(country=[None] * 100 + ["US"] * (ROWS - 100)))
    text = example_rows(TEXT, ROWS).astype({"amount": "string"})
    text.loc[:179, "amount"] = "n/a is amount"
    write_day(home, TEXT, frame=text)
    write_day(home, REPEATED, frame=pd.concat([example_rows(REPEATED, ROWS)] * 3))
    few = example_rows(FEW, ROWS)
    few.loc[:11, "id"] = None  # 3 %
    write_day(home, FEW, frame=few)
    write_day(home, EMPTY, frame=example_rows(EMPTY, ROWS).iloc[:0])
    write_labels(home, SOUND, ROWS)
    write_labels(home, TEXT, frame=pd.DataFrame({"id": [f"nobody-{i}" for i in range(ROWS)], "late": 1}))
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(home, instance, reference=REFERENCE)
        tags = {"dagster/asset_partition_range_start": str(DAYS[0]), "dagster/asset_partition_range_end": str(DAYS[-1])}
        succeeded(monitor.materialise("inference_log", tags=tags))
        succeeded(monitor.materialise("labels", tags=tags))
        yield monitor


def evaluation(monitor: DagsterMonitor, asset: str, day: date) -> tuple[bool, str, str]:
    """Whether the check passed, how grave Dagster holds it to be, and the description."""
    found = monitor.check(asset, "accepted", day).evaluation
    return found.passed, found.severity.value, found.description or ""


@pytest.mark.slow
def test_a_day_without_refused_rows_passes_and_tells_which_columns_have_gaps(monitor: DagsterMonitor) -> None:
    assert evaluation(monitor, "inference_log", SOUND) == (True, "WARN", "all 400 delivered rows accepted")
    metadata = monitor.check("inference_log", "accepted", SOUND).evaluation.metadata
    gaps = [record.data for record in metadata["completeness"].records]
    assert gaps == [{"column": "country", "refused_rows": 0, "missing_rows": 100, "complete_share": 0.75}]


def test_180_of_400_rows_refused_are_an_error_that_names_the_column_and_the_command_that_lists_them(
    monitor: DagsterMonitor,
) -> None:
    passed, severity, reported = evaluation(monitor, "inference_log", TEXT)
    assert (passed, severity) == (False, "ERROR")
    assert reported == (
        "180 of 400 delivered rows refused (45 %; not a number in amount: 180); "
        f"`monitoring-assets quarantine example --day {TEXT} --asset inference_log` lists them"
    )
    metadata = monitor.check("inference_log", "accepted", TEXT).evaluation.metadata
    assert metadata["refused_share"].value == 0.45
    assert [record.data for record in metadata["completeness"].records] == [
        {"column": "amount", "refused_rows": 180, "missing_rows": 0, "complete_share": 0.55}
    ]


def test_800_of_1200_repeated_ids_are_an_error_about_the_id(monitor: DagsterMonitor) -> None:
    passed, severity, reported = evaluation(monitor, "inference_log", REPEATED)
    assert (passed, severity) == (False, "ERROR")
    assert reported.startswith("800 of 1200 delivered rows refused (66.7 %; repeated id in id: 800)")


def test_every_label_refused_is_an_error_on_labels(monitor: DagsterMonitor) -> None:
    passed, severity, reported = evaluation(monitor, "labels", TEXT)
    assert (passed, severity) == (False, "ERROR")
    assert reported.startswith("400 of 400 delivered rows refused (100 %; unknown id in id: 400)")
    assert f"--day {TEXT} --asset labels" in reported
    assert evaluation(monitor, "labels", SOUND)[0]


def test_3_percent_are_minor_and_a_warning(monitor: DagsterMonitor) -> None:
    found = monitor.check("inference_log", "accepted", FEW).evaluation
    assert (found.passed, found.severity.value, found.metadata["severity"].value) == (False, "WARN", "minor")


@pytest.mark.parametrize(
    ("asset", "day", "why"),
    [
        ("inference_log", EMPTY, "not judged: the source delivered no rows for the day"),
        ("inference_log", ABSENT, "not judged: "),
        ("labels", FEW, "not judged: "),
    ],
)
def test_a_day_that_was_not_delivered_or_not_read_is_not_judged_and_never_green(
    monitor: DagsterMonitor, asset: str, day: date, why: str
) -> None:
    passed, severity, reported = evaluation(monitor, asset, day)
    assert (passed, severity) == (False, "WARN")
    assert reported.startswith(why)
    assert monitor.check(asset, "accepted", day).evaluation.metadata["severity"].value == "not judged"


def test_a_monitors_own_shares_decide(tmp_path: Path) -> None:
    few = example_rows(FEW, ROWS)
    few.loc[:11, "id"] = None
    write_day(tmp_path, FEW, frame=few)
    shares = {"refused_minor": 0.0, "refused_moderate": 0.01, "refused_severe": 0.02}
    with dg.DagsterInstance.ephemeral() as instance:
        strict = DagsterMonitor(tmp_path, instance, reference=REFERENCE, quality=shares)
        tags = {f"dagster/asset_partition_range_{end}": str(FEW) for end in ("start", "end")}
        succeeded(strict.materialise("inference_log", tags=tags))
        assert evaluation(strict, "inference_log", FEW)[:2] == (False, "ERROR")
