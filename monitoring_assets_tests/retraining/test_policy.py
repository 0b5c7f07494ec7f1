"""Laws of the retrain policy, over all evidence there can be."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring_assets.monitor_spec import SEVERITIES, Retrain
from monitoring_assets.retraining.policy import Evidence, awaits_quality, decide, triggers

DAYS = st.dates(date(2026, 1, 1), date(2026, 6, 30))
SEVERITY = st.sampled_from([None, *SEVERITIES])
EVIDENCE = st.builds(
    Evidence,
    day=DAYS | st.none(),
    baseline_id=st.just("b"),
    has_model=st.booleans(),
    severities=st.dictionaries(st.sampled_from([f"f{i}" for i in range(10)]), SEVERITY, min_size=1),
    prediction_severity=SEVERITY,
    metric=st.just("auc"),
    metric_value=st.floats(0, 1) | st.just(float("nan")),
    baseline_value=st.floats(0, 1),
    fall=st.floats(-1, 1) | st.just(float("nan")),
    metric_rows=st.integers(0, 10_000),
    untrained_rows=st.integers(0, 5_000),
    newest_labelled_day=DAYS | st.none(),
    last_retrain_day=DAYS | st.none(),
    newest_decided_day=DAYS | st.none(),
    is_in_flight=st.booleans(),
    is_backfill=st.booleans(),
    severe_quality=st.dictionaries(DAYS.map(str), st.just("missing values of f1: 41 %"), max_size=2),
    unjudged_days=st.lists(DAYS.map(str), max_size=2).map(tuple),
    together_severity=SEVERITY,
)
POLICY = st.builds(
    Retrain,
    severity=st.sampled_from(["minor", "moderate", "severe"]),
    drifted_share=st.sampled_from([0.1, 0.3, 0.5, 0.7, 1.0]),
    performance_margin=st.sampled_from([0.0, 0.05, 0.5]),
    cooldown_days=st.integers(0, 60),
    minimum_gate_rows=st.sampled_from([1, 1000]),
)
MANY = settings(max_examples=300, deadline=None)
ALARMING = Evidence(
    date(2026, 3, 9), "b", True, dict.fromkeys("abcdefghij", "severe"), "severe", "auc", 0.5, 0.7, 0.2, 900, 5000, None
)


@pytest.mark.slow
@MANY
@given(POLICY, EVIDENCE)
def test_there_is_always_a_reason(policy: Retrain, evidence: Evidence) -> None:
    assert decide(policy, evidence).reason.strip()


@pytest.mark.slow
@MANY
@given(POLICY, EVIDENCE)
def test_never_while_a_retrain_is_in_flight(policy: Retrain, evidence: Evidence) -> None:
    assert not decide(policy, replace(evidence, is_in_flight=True)).retrain


@pytest.mark.slow
@MANY
@given(POLICY, EVIDENCE.filter(lambda e: e.day is not None), st.integers(0, 59))
def test_never_in_the_cooldown(policy: Retrain, evidence: Evidence, since: int) -> None:
    late = replace(evidence, has_model=True, last_retrain_day=evidence.day - timedelta(days=since))
    if since < policy.cooldown_days:
        assert not decide(policy, late).retrain


@pytest.mark.slow
@MANY
@given(POLICY, EVIDENCE)
def test_never_for_what_a_backfill_scored(policy: Retrain, evidence: Evidence) -> None:
    assert not decide(policy, replace(evidence, has_model=True, is_backfill=True)).retrain


@pytest.mark.slow
@MANY
@given(POLICY, EVIDENCE.filter(lambda e: e.day is not None), st.integers(1, 99))
def test_never_for_a_day_older_than_one_decided(policy: Retrain, evidence: Evidence, days: int) -> None:
    old = replace(evidence, has_model=True, newest_decided_day=evidence.day + timedelta(days=days))
    assert not decide(policy, old).retrain


@pytest.mark.slow
@MANY
@given(POLICY, EVIDENCE)
def test_a_monitor_without_a_model_gets_one_as_soon_as_nothing_is_in_flight(policy: Retrain, evidence: Evidence) -> None:
    decision = decide(policy, replace(evidence, has_model=False, is_in_flight=False))
    assert (decision.retrain, decision.reason) == (True, "no champion yet")


@MANY
@given(POLICY, EVIDENCE)
def test_drift_alone_never_retrains_on_days_that_are_broken_or_not_judged(policy: Retrain, evidence: Evidence) -> None:
    drift_alone = replace(evidence, has_model=True, fall=0.0)
    if evidence.severe_quality or evidence.unjudged_days:
        assert not decide(policy, drift_alone).retrain


@MANY
@given(POLICY, EVIDENCE)
def test_quality_does_not_matter_where_performance_has_fallen_or_there_is_no_model(policy: Retrain, evidence: Evidence) -> None:
    sound = {"severe_quality": {}, "unjudged_days": ()}
    for seen in (replace(evidence, fall=policy.performance_margin + 0.1), replace(evidence, has_model=False)):
        assert decide(policy, seen).retrain == decide(policy, replace(seen, **sound)).retrain


@MANY
@given(POLICY, EVIDENCE)
def test_only_drift_on_days_not_judged_waits_for_quality(policy: Retrain, evidence: Evidence) -> None:
    if awaits_quality(policy, evidence):
        assert evidence.unjudged_days
        judged = replace(evidence, unjudged_days=(), is_in_flight=False, is_backfill=False, last_retrain_day=None)
        assert judged.digest != evidence.digest  # so it is decided anew
        assert triggers(policy, judged)


def test_a_broken_day_is_named_with_what_is_wrong_and_what_was_seen() -> None:
    drifted = replace(ALARMING, fall=0.0, severe_quality={"2026-03-05": "repeated values of id: 2 %", "2026-03-09": "x"})
    reason = decide(Retrain(), drifted).reason
    assert reason.startswith("the log of 2026-03-09 is broken (x), and 1 more day(s) of the window; drift on broken data is no")
    assert "seen: 10 of 10 judged features moderate" in reason


def _worse(severity: str) -> str:
    place = SEVERITIES.index(severity)
    return SEVERITIES[min(place + 1, 3)]


@pytest.mark.slow
@MANY
@given(POLICY, EVIDENCE, st.sets(st.sampled_from([f"f{i}" for i in range(10)])), st.booleans(), st.floats(0, 1))
def test_worse_evidence_never_turns_a_yes_into_a_no(
    policy: Retrain, evidence: Evidence, columns: set[str], is_prediction: bool, further: float
) -> None:
    severities = {name: _worse(found) if name in columns and found else found for name, found in evidence.severities.items()}
    prediction = _worse(evidence.prediction_severity or "ok") if is_prediction else evidence.prediction_severity
    worse = replace(evidence, severities=severities, prediction_severity=prediction, fall=evidence.fall + further)
    assert decide(policy, worse).retrain >= decide(policy, evidence).retrain


def test_each_trigger_fires_alone_and_nothing_fires_without_one() -> None:
    quiet = replace(ALARMING, severities=dict.fromkeys("abcdefghij", "ok"), prediction_severity="ok", fall=0.0)
    assert not decide(Retrain(), quiet).retrain
    assert decide(Retrain(), replace(quiet, prediction_severity="severe")).reason == "prediction severe"
    assert decide(Retrain(), replace(quiet, fall=0.06)).retrain
    assert not decide(Retrain(), replace(quiet, fall=0.05)).retrain
    assert decide(Retrain(), replace(quiet, severities=ALARMING.severities)).retrain


def test_a_share_of_features_counts_as_reached_when_it_is_met_exactly() -> None:
    for count in range(1, 11):
        names = "abcdefghij"
        moved = dict.fromkeys(names[:count], "severe") | dict.fromkeys(names[count:], "ok")
        evidence = replace(ALARMING, severities=moved, prediction_severity="ok", fall=0.0)
        assert decide(Retrain(drifted_share=count / 10), evidence).retrain
        if count < 10:
            assert not decide(Retrain(drifted_share=(count + 1) / 10), evidence).retrain


def test_the_share_is_of_the_features_that_could_be_judged_and_the_reason_names_both_numbers() -> None:
    moved = dict.fromkeys("ab", "severe") | dict.fromkeys("cd", "ok") | dict.fromkeys("efghij")
    evidence = replace(ALARMING, severities=moved, prediction_severity="ok", fall=0.0)
    half = decide(Retrain(drifted_share=0.5), evidence)
    assert (half.retrain, half.reason) == (True, "2 of 4 judged features moderate (a, b; 6 of 10 not judged)")
    more = decide(Retrain(drifted_share=0.6), evidence)
    assert not more.retrain
    assert more.reason.startswith("nothing to do: 2 of 4 judged features moderate (6 of 10 not judged), prediction ok")


def test_where_no_feature_could_be_judged_there_is_no_retrain_and_it_says_so() -> None:
    unjudged = replace(ALARMING, severities=dict.fromkeys("abc"), prediction_severity=None, fall=0.0)
    decision = decide(Retrain(drifted_share=0.01), unjudged)
    assert not decision.retrain
    assert decision.reason.startswith("nothing to do: drift not judged (none of 3 features), prediction not judged")


def test_too_few_new_labels_and_the_cooldown_say_what_is_missing() -> None:
    short = decide(Retrain(), replace(ALARMING, untrained_rows=12))
    assert short.reason.startswith("12 labelled rows the model was not trained on, 1,000 needed; seen: 10 of 10 judged features")
    cold = decide(Retrain(cooldown_days=21), replace(ALARMING, last_retrain_day=date(2026, 3, 1)))
    assert cold.reason.startswith("cooldown: the last retrain was on 2026-03-01, the next may be on 2026-03-22")


@MANY
@given(EVIDENCE)
def test_the_same_sight_of_the_world_has_the_same_digest_however_busy_we_are(evidence: Evidence) -> None:
    busy = replace(evidence, is_in_flight=not evidence.is_in_flight, is_backfill=not evidence.is_backfill)
    assert busy.digest == evidence.digest
    assert replace(evidence, metric_rows=evidence.metric_rows + 1).digest != evidence.digest


@pytest.mark.slow
@MANY
@given(POLICY, EVIDENCE)
def test_features_that_no_longer_go_together_ask_for_a_model_as_a_drifted_prediction_does(
    policy: Retrain, evidence: Evidence
) -> None:
    quiet = replace(evidence, has_model=True, severities={"f0": "ok"}, prediction_severity="ok", fall=0.0)
    for severity in SEVERITIES:
        together = triggers(policy, replace(quiet, together_severity=severity))
        alone = triggers(policy, replace(quiet, prediction_severity=severity, together_severity=None))
        assert bool(together) == bool(alone) == (SEVERITIES.index(severity) >= SEVERITIES.index(policy.severity))
        assert together == ([f"(all features) {severity}"] if alone else [])


def test_evidence_of_features_that_drift_together_is_evidence_of_its_own() -> None:
    quiet = replace(ALARMING, severities={"a": "ok"}, prediction_severity="ok", fall=0.0)
    assert quiet.digest != replace(quiet, together_severity="severe").digest
    assert decide(Retrain(), replace(quiet, together_severity="severe")).retrain
