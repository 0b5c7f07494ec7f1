"""Laws of the retrain job, on a real instance and a real registry: the first champion, a better candidate, a worse one, a kill
half-way, a model trained elsewhere, a regression."""

import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from monitoring_assets.monitor_spec import days_between
from monitoring_assets.orchestration.model_assets import RETRAIN_ASSETS
from monitoring_assets.retraining import candidates
from monitoring_assets.retraining.registry import CHALLENGER, PREVIOUS, Registry
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, failure_of, succeeded
from monitoring_assets_tests.example_monitor import example_rows, learnable_labels, write_day, write_labels, write_reference

pytestmark = pytest.mark.long

ROWS = 120
TRAINERS = "monitoring_assets_tests.orchestration.trainers"
REFERENCE = days_between(date(2026, 2, 20), date(2026, 2, 25))
# After the reference the world turns round: what made a label 1 now makes it 0.
DAYS = days_between(date(2026, 3, 2), date(2026, 3, 9))
GATE_DAYS = 3
SETTINGS: dict[str, Any] = {
    "reference": {"path": "reference.parquet"},
    "drift": {"windows_days": [1]},
    "retrain": {
        "drift_window_days": 1,
        "minimum_training_rows": 100,
        "minimum_gate_rows": 100,
        "training_days": 5,
        "gate_days": GATE_DAYS,
    },
    "trainer": f"{TRAINERS}.learning",
}


@pytest.fixture(scope="module")
def first_champion(tmp_path_factory: pytest.TempPathFactory, store: str) -> Path:
    """A home whose first champion was trained on the labelled reference, and that then saw the world turn round."""
    home = tmp_path_factory.mktemp("champion")
    reference = pd.concat([example_rows(day, ROWS) for day in REFERENCE], ignore_index=True)
    write_reference(home, frame=reference.merge(learnable_labels(reference), on="id"))
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(home, instance, **SETTINGS)
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.retrain())
        for day in DAYS:
            rows = write_day(home, day, ROWS)
            write_labels(home, day, frame=learnable_labels(rows, flipped=True))
        ends = {"dagster/asset_partition_range_start": str(DAYS[0]), "dagster/asset_partition_range_end": str(DAYS[-1])}
        succeeded(monitor.materialise("inference_log", "labels", "daily_profile", "drift_scores", "performance", tags=ends))
    return home


@pytest.fixture
def monitor(first_champion: Path, tmp_path: Path) -> Iterator[DagsterMonitor]:
    home = _copied(first_champion, tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterMonitor(home, instance, **SETTINGS)


def _copied(home: Path, folder: Path) -> Path:
    """Aliases, versions and the warehouse are the copy's own; the models' files stay where the registry says they are."""
    return Path(shutil.copytree(home, folder / "home", ignore=shutil.ignore_patterns("mlflow_artifacts")))


def aliases(home: Path) -> dict[str, str | None]:
    found = {alias: Registry(home).find("example", alias) for alias in ("champion", CHALLENGER, PREVIOUS)}
    return {alias: version.version if version else None for alias, version in found.items()}


def verdicts(monitor: DagsterMonitor) -> list[tuple[Any, ...]]:
    return monitor.rows(
        "SELECT decision_id, candidate_version, verdict, verdict_reason FROM example.retrain_decisions "
        "WHERE verdict IS NOT NULL ORDER BY candidate_version::INTEGER"
    )


def baselines(monitor: DagsterMonitor) -> list[tuple[Any, ...]]:
    return monitor.rows("SELECT sequence, model_version, valid_from FROM example.baselines ORDER BY sequence")


def test_the_first_champion_is_trained_on_the_labelled_reference(first_champion: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(first_champion, instance, **SETTINGS)
        assert aliases(first_champion) == {"champion": "1", CHALLENGER: None, PREVIOUS: None}
        ((decision, version, verdict, reason),) = verdicts(monitor)
        assert decision.startswith("by-hand-")
        assert (version, verdict, reason) == ("1", "promoted", "first champion: there is none to beat")
        tags = Registry(first_champion).champion("example").tags
        assert (tags["first_day"], tags["last_day"]) == (str(REFERENCE[0]), str(REFERENCE[-1]))
        assert baselines(monitor)[1] == (1, "1", date(2026, 3, 1))  # the log was empty: from its first day on


def test_a_better_candidate_takes_the_champions_place(monitor: DagsterMonitor) -> None:
    before = monitor.materialisations("reference_baseline")
    succeeded(monitor.retrain("decided-by-test"))
    assert aliases(monitor.home) == {"champion": "2", CHALLENGER: None, PREVIOUS: "1"}
    assert baselines(monitor)[-1] == (2, "2", DAYS[-1] + timedelta(days=1))
    assert monitor.materialisations("reference_baseline") == before + 1
    shown = monitor.metadata("reference_baseline")
    assert shown["in_force_from"].value == str(DAYS[-1] + timedelta(days=1))
    (newest,) = monitor.instance.fetch_materializations(monitor.key("reference_baseline"), limit=1).records
    judged = dg.AssetCheckKey(monitor.key("reference_baseline"), "can_be_monitored")
    (check,) = monitor.instance.event_log_storage.get_asset_check_execution_history(judged, limit=1)
    assert check.evaluation.target_materialization_data.storage_id == newest.storage_id
    assert f"{shown['reference_days'].value:.0f} reference days" in check.evaluation.description
    decision, version, verdict, reason = verdicts(monitor)[-1]
    assert (decision, version, verdict) == ("decided-by-test", "2", "promoted")
    shown = monitor.metadata("champion")
    assert shown["candidate_auc"].value > 0.9 > 0.1 > shown["champion_auc"].value
    assert reason == shown["reason"].value


def test_the_gates_rows_are_of_days_that_neither_was_trained_on(monitor: DagsterMonitor) -> None:
    succeeded(monitor.retrain())
    gate_first = DAYS[-GATE_DAYS]
    assert f"on {GATE_DAYS * ROWS} rows of {GATE_DAYS} days ({gate_first} to {DAYS[-1]})" in verdicts(monitor)[-1][3]
    candidate, champion = (Registry(monitor.home).find("example", version) for version in ("2", "1"))
    assert candidate.last_day == gate_first - timedelta(days=1)
    assert champion.last_day < gate_first
    assert monitor.metadata("champion")["gate_rows"].value == GATE_DAYS * ROWS


def test_a_worse_candidate_is_refused_and_leaves_nothing_behind(first_champion: Path, tmp_path: Path) -> None:
    home = _copied(first_champion, tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        better = DagsterMonitor(home, instance, **SETTINGS)
        succeeded(better.retrain())
        kept, champion = baselines(better), aliases(home)
        profiles = better.tables("baseline_profiles")
        guessing = DagsterMonitor(home, instance, **SETTINGS | {"trainer": f"{TRAINERS}.guessing"})
        succeeded(guessing.retrain("worse"))
        assert aliases(home) == champion
        assert baselines(guessing) == kept
        assert guessing.tables("baseline_profiles") == profiles
        decision, version, verdict, reason = verdicts(guessing)[-1]
        assert (decision, version, verdict) == ("worse", "3", "refused")
        assert "must be better by more than 0.000" in reason or "labelled rows that neither" in reason
        check = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [dg.AssetCheckKey(guessing.key("champion"), "beats_champion")]
        )
        (record,) = check.values()
        assert (record.evaluation.passed, record.evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)


@pytest.mark.parametrize("killed_before", ["store_verdict", "promote"])
def test_a_promotion_killed_half_way_ends_the_same(
    monitor: DagsterMonitor, monkeypatch: pytest.MonkeyPatch, killed_before: str
) -> None:
    """The kill is an exception where the process would have ended; then labels turn, and the gate is asked again."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(candidates if killed_before == "store_verdict" else Registry, killed_before, killed)
        spec, registry = monitor.resource.located(monitor.spec), Registry(monitor.home)
        candidates.train(monitor.resource.warehouse_of(spec), registry, spec, "interrupted")
        with pytest.raises(KeyboardInterrupt):
            candidates.gate(monitor.resource.warehouse_of(spec), registry, spec, "interrupted")
    assert aliases(monitor.home)["champion"] == "1"
    if killed_before == "promote":  # decided already: what comes later does not decide again
        with monitor.warehouse() as connection:
            connection.execute("UPDATE example.labels SET label = 1 - label")
    succeeded(monitor.materialise("champion"))
    assert aliases(monitor.home) == {"champion": "2", CHALLENGER: None, PREVIOUS: "1"}
    assert baselines(monitor)[-1] == (2, "2", DAYS[-1] + timedelta(days=1))
    assert [row[:3] for row in verdicts(monitor)][1:] == [("interrupted", "2", "promoted")]


def test_a_champion_without_a_candidate_says_what_to_materialise(monitor: DagsterMonitor) -> None:
    assert "Materialise example/model_candidate first" in failure_of(monitor.materialise("champion"))


def test_too_few_labels_are_a_failure_that_says_how_many(first_champion: Path, tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        greedy = {"retrain": SETTINGS["retrain"] | {"minimum_training_rows": 10_000, "minimum_gate_rows": 10_000}}
        monitor = DagsterMonitor(_copied(first_champion, tmp_path), instance, **SETTINGS | greedy)
        reported = failure_of(monitor.retrain())
    assert "NotEnoughLabels: training needs at least 10,000 labelled rows" in reported


def test_a_model_trained_elsewhere_is_judged_by_what_the_log_says_it_predicted(tmp_path: Path) -> None:
    """The reference is a range of the log, and MLflow knows no champion."""
    for day in DAYS:
        rows = write_day(tmp_path, day, ROWS)
        write_labels(tmp_path, day, frame=learnable_labels(rows))
    own = SETTINGS | {"reference": {"first_day": str(DAYS[0]), "last_day": str(DAYS[2])}}
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, **own)
        ends = {"dagster/asset_partition_range_start": str(DAYS[0]), "dagster/asset_partition_range_end": str(DAYS[-1])}
        succeeded(monitor.materialise("inference_log", "labels", tags=ends))
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.materialise("daily_profile", "drift_scores", "performance", tags=ends))
        succeeded(monitor.retrain())
        logged = monitor.rows(
            "SELECT p.score, l.label FROM example.inference_log p JOIN example.labels l ON l.prediction_id = p.id "
            f"WHERE p.day >= '{DAYS[-GATE_DAYS]}'"
        )
        from sklearn.metrics import roc_auc_score

        expected = roc_auc_score([row[1] for row in logged], [row[0] for row in logged])
        assert monitor.metadata("champion")["champion_auc"].value == pytest.approx(expected, abs=1e-3)
        assert verdicts(monitor)[-1][2] == "promoted"
        assert aliases(tmp_path)["champion"] == "1"


def test_a_regression_runs_the_loop(tmp_path: Path) -> None:
    """The value that the log predicted is far off, the candidate's is not."""
    for day in DAYS:
        rows = example_rows(day, ROWS).drop(columns=["score", "predicted"]).assign(forecast=0.0)
        write_day(tmp_path, day, frame=rows)
        write_labels(tmp_path, day, frame=pd.DataFrame({"id": rows["id"], "late": 3 * rows["amount"] + 1}))
    own = SETTINGS | {
        "reference": {"first_day": str(DAYS[0]), "last_day": str(DAYS[2])},
        "prediction": {"value": "forecast", "model_version": "model"},
    }
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, **own)
        ends = {"dagster/asset_partition_range_start": str(DAYS[0]), "dagster/asset_partition_range_end": str(DAYS[-1])}
        succeeded(monitor.materialise("inference_log", "labels", tags=ends))
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.materialise("daily_profile", "drift_scores", "performance", tags=ends))
        assert monitor.metadata("performance", DAYS[0])["rmse_1_day"].value > 100
        succeeded(monitor.retrain())
        shown = monitor.metadata("champion")
        assert shown["verdict"].value == "promoted"
        assert shown["candidate_rmse"].value < 0.001 < 100 < shown["champion_rmse"].value


def test_a_lost_registry_is_named_and_no_candidate_is_promoted_without_a_gate(monitor: DagsterMonitor) -> None:
    before = monitor.tables("baselines", "retrain_decisions")
    (monitor.home / "mlflow.db").unlink()
    reported = failure_of(monitor.retrain())
    assert "the warehouse knows version 1 of model 'example' as promoted" in reported
    assert "Restore mlflow.db and mlflow_artifacts/ from a backup" in reported
    assert monitor.tables("baselines", "retrain_decisions") == before


def test_whoever_asks_to_start_over_gets_a_first_champion_and_keeps_the_history(monitor: DagsterMonitor) -> None:
    (monitor.home / "mlflow.db").unlink()
    succeeded(monitor.materialise(*RETRAIN_ASSETS, tags={"monitoring_assets/start_over": "yes"}))
    assert aliases(monitor.home)["champion"] == "1"
    versions = monitor.rows(
        "SELECT candidate_version, verdict FROM example.retrain_decisions WHERE verdict IS NOT NULL ORDER BY 1"
    )
    assert versions == [("1", "promoted"), ("lost 1", "promoted")]
    assert [version for _, version, _ in baselines(monitor)] == [None, "lost 1", "1"]
