"""Scoring days of the warehouse with thresholds calibrated from the baseline that judges them, under the settings of today."""

import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from monitoring_assets.drift import daily_scores
from monitoring_assets.drift.daily_scores import score_history
from monitoring_assets.drift.verdicts import DriftVerdict
from monitoring_assets.errors import ScoringInterrupted
from monitoring_assets.monitor_spec import days_between
from monitoring_assets.profiling.daily_profiles import profile_days
from monitoring_assets_tests.example_monitor import (
    FIRST,
    example_rows,
    example_spec,
    example_warehouse,
    reference_baseline,
    write_day,
)
from monitoring_assets_tests.ingested_days import ingest_log

pytestmark = pytest.mark.slow

DAYS = days_between(FIRST, FIRST + timedelta(days=13))
QUIET, SHIFTED = FIRST + timedelta(days=14), FIRST + timedelta(days=15)
SETTINGS = {"windows_days": [1], "numeric_methods": ["psi", "missingness"], "categorical_methods": ["psi"]}


@dataclass(frozen=True)
class Scoring:
    """A warehouse with fourteen days of reference, a quiet day and one whose amount moved by two standard deviations."""

    home: Path

    def spec(self, segments: list[str], drift: dict[str, Any]):
        reference = {"first_day": str(DAYS[0]), "last_day": str(DAYS[-1])}
        retrain = {"drift_window_days": 1}
        return example_spec(self.home, drift=SETTINGS | drift, reference=reference, segments=segments, retrain=retrain)

    def score(self, *, segments: tuple[str, ...] = (), **drift: Any) -> pd.DataFrame:
        spec = self.spec(list(segments), drift)
        return score_history(lambda: example_warehouse(self.home, spec), spec, [QUIET, SHIFTED])[0].scores

    def verdicts(self, *, segments: tuple[str, ...] = (), **drift: Any) -> list[DriftVerdict]:
        spec = self.spec(list(segments), drift)
        (scored,) = score_history(lambda: example_warehouse(self.home, spec), spec, [QUIET, SHIFTED])
        return [scored.verdicts[day] for day in (QUIET, SHIFTED)]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with example_warehouse(self.home, self.spec([], {})) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory, store: str) -> Scoring:
    return profiled(tmp_path_factory.mktemp("calibrated"))


def profiled(home: Path) -> Scoring:
    scoring = Scoring(home)
    spec = scoring.spec(["country"], {})
    for day in (*DAYS, QUIET):
        write_day(home, day, rows=300)
    frame = example_rows(SHIFTED, 300, shift=2)
    write_day(home, SHIFTED, frame=frame.assign(items=frame["items"] + 20 * (frame["country"] == "DE")))
    with example_warehouse(home, spec) as connection:
        ingest_log(connection, spec, [*DAYS, QUIET, SHIFTED])
        reference_baseline(connection, spec)
        profile_days(connection, spec, [*DAYS, QUIET, SHIFTED])
    return scoring


def test_a_baseline_is_calibrated_once_and_its_thresholds_are_kept(scoring: Scoring, monkeypatch: pytest.MonkeyPatch) -> None:
    first = scoring.score()
    ((kept,),) = scoring.rows("SELECT count(*) FROM example.thresholds")
    assert kept == len(first) / 2  # a threshold for each score of a day, those of all features together among them
    monkeypatch.setattr(daily_scores, "calibrated", None)  # calling it again would fail
    assert first.equals(scoring.score())


def test_a_quiet_day_is_quiet_and_a_shifted_column_is_found(scoring: Scoring) -> None:
    severities = {(row.day, row.feature): row.severity for row in scoring.score().itertuples() if row.method == "psi"}
    assert {feature for (day, feature), severity in severities.items() if day == QUIET and severity != "ok"} == set()
    assert severities[SHIFTED, "amount"] == "severe"


@pytest.mark.parametrize(
    "changed",
    [{"windows_days": [1, 2]}, {"numeric_methods": ["psi", "ks"]}, {"false_alarm_rate": 0.1}, {"references": ["same_weekday"]}],
    ids=["a window", "a method", "the false alarm rate", "a reference"],
)
def test_what_the_yaml_asks_for_later_has_thresholds_of_its_own(scoring: Scoring, changed: dict[str, Any]) -> None:
    scoring.score()
    after = scoring.score(**changed)
    judged = after["score"].notna()
    assert after.loc[judged, "threshold"].notna().all()
    moved = after[(after["feature"] == "amount") & (after["day"] == SHIFTED) & (after["method"] != "missingness")]
    assert set(moved["severity"]) == {"severe"}
    assert scoring.rows("SELECT count(DISTINCT settings_digest) FROM example.thresholds") == [(1,)]


def test_thresholds_from_before_they_knew_their_settings_are_calibrated_anew(scoring: Scoring) -> None:
    expected = scoring.score()
    scoring.rows("UPDATE example.thresholds SET settings_digest = NULL, day_to_day = 100")
    assert scoring.score().equals(expected)
    assert scoring.rows("SELECT count(*) FROM example.thresholds WHERE settings_digest IS NULL") == [(0,)]


def test_what_has_no_threshold_is_never_ok(scoring: Scoring) -> None:
    scores = scoring.score(calibrated=False, categorical_methods=["chi2"], multivariate_methods=[])
    informs = scores[scores["method"] == "chi2"]
    assert informs["score"].notna().all()
    assert informs["severity"].isna().all()
    assert set(informs["reason"]) == {"not judged: chi2 only informs, unless `drift.thresholds` names its cuts"}
    quiet, shifted = scoring.verdicts(calibrated=False, categorical_methods=["chi2"], multivariate_methods=[])
    assert quiet.reason.startswith("quiet: 4 of 5 columns judged; not judged: country (chi2 only informs")
    assert (shifted.severity, list(shifted.unjudged)) == ("severe", ["country"])


def test_segments_cost_the_whole_no_power(scoring: Scoring) -> None:
    alone = scoring.score()
    beside = scoring.score(segments=("country",))
    of_whole = beside[beside["segment"].isna()].reset_index(drop=True)
    assert of_whole["threshold"].equals(alone["threshold"])
    assert set(beside["segment"].dropna()) == {"country=DE", "country=JP", "country=US"}


def test_what_moved_in_a_segment_alone_is_found_named_and_leaves_the_verdict_of_the_whole(scoring: Scoring) -> None:
    quiet, shifted = scoring.verdicts(segments=("country",), windows_days=[1])
    assert (quiet.segment_severity, quiet.segments) == (None, [])
    assert shifted.segments[0] == "country=DE"
    assert {"items", "amount"} <= {row["feature"] for row in shifted.segment_moves if row["segment"] == "country=DE"}
    assert "in 3 segments: country=DE: " in shifted.reason
    assert scoring.rows(f"SELECT segment_severity, segments[1] FROM example.drift_verdicts WHERE day = '{SHIFTED}'") == [
        ("severe", "country=DE")
    ]


def test_only_the_largest_segments_are_judged_and_the_others_are_listed(scoring: Scoring) -> None:
    spec = scoring.spec(["country"], {"segment_values": 2})
    (scored,) = score_history(lambda: example_warehouse(scoring.home, spec), spec, [QUIET])
    ((smallest,),) = scoring.rows(
        "SELECT segment FROM example.baseline_profiles WHERE segment IS NOT NULL GROUP BY 1 ORDER BY sum(row_count) LIMIT 1"
    )
    assert len(set(scored.scores["segment"].dropna())) == 2
    assert scored.left_out == {QUIET: [smallest]}


@pytest.mark.file_only
def test_other_monitors_write_to_the_warehouse_while_thresholds_are_calibrated(
    scoring: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process takes the file in the middle of it, which DuckDB allows only while nobody has it open."""
    write = (
        f"import duckdb; duckdb.connect({str(scoring.home / 'warehouse.duckdb')!r}).execute('CREATE OR REPLACE TABLE t (i INT)')"
    )
    calibrated, written = daily_scores.calibrated, []

    def while_another_writes(*arguments: Any) -> pd.DataFrame:
        written.append(subprocess.run([sys.executable, "-c", write], check=True, timeout=60).returncode)
        return calibrated(*arguments)

    monkeypatch.setattr(daily_scores, "calibrated", while_another_writes)
    scoring.score(false_alarm_rate=0.05)
    assert written == [0]


def test_days_whose_profiles_change_while_they_are_scored_are_scored_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scoring = profiled(tmp_path)
    spec, score_days = scoring.spec([], {}), daily_scores.score_days

    def while_the_day_comes_again(*arguments: Any) -> pd.DataFrame:
        monkeypatch.setattr(daily_scores, "score_days", score_days)
        write_day(tmp_path, QUIET, rows=300, shift=2)
        with example_warehouse(tmp_path, spec) as connection:
            ingest_log(connection, spec, [QUIET])
            profile_days(connection, spec, [QUIET])
        return score_days(*arguments)

    monkeypatch.setattr(daily_scores, "score_days", while_the_day_comes_again)
    scores = scoring.score()
    severities = scores.loc[(scores["feature"] == "amount") & (scores["method"] == "psi"), "severity"]
    assert list(severities) == ["severe", "severe"]
    assert scoring.rows("SELECT count(*) FROM example.drift_verdicts WHERE severity = 'severe'") == [(2,)]


def test_days_that_never_rest_are_a_transient_error(scoring: Scoring, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = iter(range(100))
    monkeypatch.setattr(daily_scores, "fingerprint", lambda *_: next(changes))
    with pytest.raises(ScoringInterrupted, match="Score the days again"):
        scoring.score()
