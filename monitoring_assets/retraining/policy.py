"""The retrain policy: from what is known of a monitor to a decision and its reason. Pure: `decisions.py`
gathers evidence and stores decisions, the orchestration acts on them.

Time is the evidence's own: days are days of predictions, so a replayed year decides as the real one would have.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from hashlib import sha256

from monitoring_assets.monitor_spec import SEVERITIES, Retrain, Severity


@dataclass(frozen=True)
class Evidence:
    """What the policy sees.

    `severities` holds each feature's worst severity over the policy's window that ends on `day` (None: not judged),
    `prediction_severity` the same for the model's output, `together_severity` for how the features go with each other. `fall` is
    how much worse the realised `metric` of the newest labelled days is than the baseline's (nan: not known). `untrained_rows`
    counts labelled rows of days the model was not trained on. `severe_quality` maps days of the window with severely broken rows
    to the fault; `unjudged_days` are those whose quality has not been judged. `drifted_segments` are for readers of the
    evidence: a segment alone asks for no retrain.
    `unjudged_metric` says why the metric cannot be compared with the baseline's, if so.
    """

    day: date | None
    baseline_id: str | None
    has_model: bool
    severities: dict[str, Severity | None]
    prediction_severity: Severity | None
    metric: str
    metric_value: float
    baseline_value: float
    fall: float
    metric_rows: int
    untrained_rows: int
    newest_labelled_day: date | None
    last_retrain_day: date | None = None
    newest_decided_day: date | None = None
    is_in_flight: bool = False
    is_backfill: bool = False
    severe_quality: dict[str, str] = field(default_factory=dict)
    unjudged_days: tuple[str, ...] = ()
    together_severity: Severity | None = None
    drifted_segments: tuple[str, ...] = ()
    unjudged_metric: str | None = None

    @property
    def digest(self) -> str:
        """Identifies the evidence, so that the same evidence is never acted on twice."""
        world: tuple[object, ...] = (
            self.day,
            self.baseline_id,
            self.has_model,
            sorted(self.severities.items()),
            self.prediction_severity,
        )
        world += (self.together_severity,)
        numbers = (f"{self.metric_value:.6f}", self.metric_rows, self.newest_labelled_day)
        quality = (sorted(self.severe_quality), self.unjudged_days)
        return sha256(repr((world, numbers, quality)).encode()).hexdigest()[:16]

    def as_json(self) -> str:
        return json.dumps(asdict(self), default=str)


@dataclass(frozen=True)
class Decision:
    """Whether to retrain, and why or why not."""

    decision_id: str
    day: date | None
    retrain: bool
    reason: str
    evidence: Evidence


def decide(policy: Retrain, evidence: Evidence) -> Decision:
    """Apply the policy: first the reasons for a retrain, then what forbids it.

    Drift speaks for one only where the window's rows are known to be sound. A fall of the realised metric does so anyway: labels
    are the truth whatever the features do, and the gate judges the candidate.

    Examples
    --------
    >>> from dataclasses import replace
    >>> quiet = Evidence(date(2026, 3, 9), "b", True, {"amount": "ok"}, "ok", "auc", 0.7, 0.7, 0.0, 900, 5000, None)
    >>> decide(Retrain(), quiet).reason
    'nothing to do: 0 of 1 judged features moderate, prediction ok, auc 0.700 (baseline 0.700)'
    >>> decide(Retrain(), replace(quiet, severities={"amount": None, "items": None}, prediction_severity=None)).reason
    'nothing to do: drift not judged (none of 2 features), prediction not judged, auc 0.700 (baseline 0.700)'
    """
    reasons = triggers(policy, evidence)
    obstacle = _obstacle(policy, evidence) or _distrust(policy, evidence)
    if obstacle is not None and (reasons or evidence.day is None):
        found = f"; seen: {', '.join(reasons)}" if reasons else ""
        return Decision(evidence.digest, evidence.day, False, obstacle + found, evidence)
    if not reasons:
        return Decision(evidence.digest, evidence.day, False, f"nothing to do: {_summary(policy, evidence)}", evidence)
    return Decision(evidence.digest, evidence.day, True, ", ".join(reasons), evidence)


def triggers(policy: Retrain, evidence: Evidence) -> list[str]:
    """The reasons for a retrain, in words; empty when there are none."""
    if not evidence.has_model:
        return ["no champion yet"]
    return [*_drift(policy, evidence), *_fall(policy, evidence)]


def awaits_quality(policy: Retrain, evidence: Evidence) -> bool:
    """Whether drift is the only reason for a retrain and some of its days are still to be judged: decide again later."""
    is_unknown = bool(evidence.unjudged_days) and not evidence.severe_quality and not evidence.is_backfill
    return is_unknown and _is_drift_alone(policy, evidence)


def _drift(policy: Retrain, evidence: Evidence) -> list[str]:
    reasons = []
    drifted = _drifted(policy, evidence)
    # Divided, not multiplied: 0.7 * 10 is 7.000000000000001, and 7 of 10 would not be enough.
    if drifted and len(drifted) / len(_judged(evidence)) >= policy.drifted_share:
        reasons.append(_features_in_words(policy, evidence, drifted))
    if _reaches(evidence.prediction_severity, policy.severity):
        reasons.append(f"prediction {evidence.prediction_severity}")
    if _reaches(evidence.together_severity, policy.severity):
        reasons.append(f"(all features) {evidence.together_severity}")
    return reasons


def _fall(policy: Retrain, evidence: Evidence) -> list[str]:
    if evidence.fall > policy.performance_margin:
        return [f"{evidence.metric} {evidence.metric_value:.3f}, baseline {evidence.baseline_value:.3f}"]
    return []


def _is_drift_alone(policy: Retrain, evidence: Evidence) -> bool:
    return evidence.has_model and bool(_drift(policy, evidence)) and not _fall(policy, evidence)


def _distrust(policy: Retrain, evidence: Evidence) -> str | None:
    """Why drift cannot be trusted, when it is the only reason for a retrain."""
    if not _is_drift_alone(policy, evidence):
        return None
    if evidence.severe_quality:
        day, found = max(evidence.severe_quality.items())
        others = len(evidence.severe_quality) - 1
        more = f", and {others} more day(s) of the window" if others else ""
        return f"the log of {day} is broken ({found}){more}; drift on broken data is no reason"
    if evidence.unjudged_days:
        days = ", ".join(evidence.unjudged_days[-3:])
        return f"the quality of {len(evidence.unjudged_days)} day(s) is not judged yet ({days}): run the checks of inference_log"
    return None


def _obstacle(policy: Retrain, evidence: Evidence) -> str | None:
    """What forbids a retrain, the first that does; None when nothing does."""
    if evidence.is_in_flight:
        return "a retrain is already running"
    if not evidence.has_model:
        return None
    if evidence.day is None:
        return "no day has been scored yet"
    return _history(evidence.day, evidence) or _too_soon(policy, evidence.day, evidence)


def _history(day: date, evidence: Evidence) -> str | None:
    if evidence.is_backfill:
        return f"history: {day} was scored by a backfill, or again for a late file of an older day"
    if evidence.newest_decided_day is not None and day < evidence.newest_decided_day:
        return f"history: {day} is older than {evidence.newest_decided_day}, which is decided"
    return None


def _too_soon(policy: Retrain, day: date, evidence: Evidence) -> str | None:
    last = evidence.last_retrain_day
    if last is not None and day < last + timedelta(days=policy.cooldown_days):
        return f"cooldown: the last retrain was on {last}, the next may be on {last + timedelta(days=policy.cooldown_days)}"
    if evidence.untrained_rows < policy.minimum_gate_rows:
        return f"{evidence.untrained_rows:,} labelled rows the model was not trained on, {policy.minimum_gate_rows:,} needed"
    return None


def _judged(evidence: Evidence) -> list[str]:
    return [name for name, severity in evidence.severities.items() if severity is not None]


def _drifted(policy: Retrain, evidence: Evidence) -> list[str]:
    return sorted(name for name, severity in evidence.severities.items() if _reaches(severity, policy.severity))


def _features_in_words(policy: Retrain, evidence: Evidence, names: Sequence[str] = ()) -> str:
    """How many features drifted, of those that could be judged, with their names if given, and how many could not."""
    judged, of_all = len(_judged(evidence)), len(evidence.severities)
    if not judged:
        return f"drift not judged (none of {of_all} features)"
    notes = [", ".join(names)] if names else []
    notes += [f"{of_all - judged} of {of_all} not judged"] if judged < of_all else []
    counted = f"{len(_drifted(policy, evidence))} of {judged} judged features {policy.severity}"
    return f"{counted} ({'; '.join(notes)})" if notes else counted


def _reaches(severity: Severity | None, wanted: Severity) -> bool:
    return severity is not None and SEVERITIES.index(severity) >= SEVERITIES.index(wanted)


def _summary(policy: Retrain, evidence: Evidence) -> str:
    prediction = evidence.prediction_severity or "not judged"
    summary = f"{_features_in_words(policy, evidence)}, prediction {prediction}"
    if evidence.together_severity is not None:
        summary += f", (all features) {evidence.together_severity}"
    if evidence.unjudged_metric is not None:
        summary += f", {evidence.metric} not judged: {evidence.unjudged_metric}"
    elif evidence.metric_value == evidence.metric_value:
        summary += f", {evidence.metric} {evidence.metric_value:.3f} (baseline {evidence.baseline_value:.3f})"
    return summary
