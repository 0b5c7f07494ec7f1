"""Scoring days of the warehouse against the baselines in force on them. No raw row is read.

The warehouse is open while inputs are read and while results are written, in one transaction; calibrating and scoring happen
in between, without it. Where what was read has changed by then, the days are scored again.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import date

import duckdb
import pandas as pd

from monitoring_assets.baselines.in_force import Baseline, baselines_in_force
from monitoring_assets.drift.inputs import Inputs, fingerprint, read_days
from monitoring_assets.drift.multivariate_scores import score_samples
from monitoring_assets.drift.stored_thresholds import calibrated, store_thresholds, stored_thresholds
from monitoring_assets.drift.thresholds import read_thresholds
from monitoring_assets.drift.verdicts import DriftVerdict, Row, write_verdicts
from monitoring_assets.drift.windows import score_days
from monitoring_assets.errors import ScoringInterrupted
from monitoring_assets.measuring.histograms import Histogram, Key
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.warehouse import replace_days, table, transaction

Connect = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]
# Profiles or baselines that change during each of so many tries are being written all the time.
TRIES = 3


@dataclass(frozen=True)
class ScoredDays:
    """Days scored against one baseline: the rows of `drift_scores`, the histograms they were computed from, each day's verdict,
    and the segments of its rows that are not judged."""

    baseline: Baseline
    days: list[date]
    scores: pd.DataFrame
    reference: Mapping[Key, Histogram]
    current: Mapping[Key, Histogram]
    left_out: Mapping[date, list[str]]
    verdicts: Mapping[date, DriftVerdict] = field(default_factory=dict)

    def scores_of_days(self) -> dict[date, list[Row]]:
        """Each day's scores of all rows."""
        whole = self.scores[self.scores["segment"].isna()] if len(self.scores) else self.scores
        of_day: dict[date, list[Row]] = {day: [] for day in self.days}
        for row in whole.to_dict("records"):
            of_day[row["day"]].append(row)
        return of_day


def score_history(connect: Connect, spec: MonitorSpec, days: Sequence[date]) -> list[ScoredDays]:
    """Score these days, each against the baseline that was in force on it, and store scores, verdicts and new thresholds.

    Raises
    ------
    BaselineMissing
        When the monitor has no baseline yet.
    ScoringInterrupted
        When other runs kept changing what the scores are computed from.
    """
    thresholds: dict[str, pd.DataFrame] = {}  # calibrated here, not stored yet
    for _ in range(TRIES):
        with connect() as connection, transaction(connection):
            read = fingerprint(connection, spec, days)
            inputs = [
                read_days(connection, spec, baseline, judged, stored_thresholds(connection, spec, baseline.baseline_id))
                for baseline, judged in baselines_in_force(connection, spec, days)
            ]
        for each in inputs:
            baseline_id = each.baseline.baseline_id
            if each.thresholds.empty and baseline_id not in thresholds:
                thresholds[baseline_id] = calibrated(spec, each)
        scored = [_scored(spec, each, thresholds.get(each.baseline.baseline_id, each.thresholds)) for each in inputs]
        with connect() as connection, transaction(connection):
            if fingerprint(connection, spec, days) == read:
                for baseline_id, found in thresholds.items():
                    store_thresholds(connection, spec, baseline_id, found)
                return _stored(connection, spec, days, scored)
    raise ScoringInterrupted(
        f"the profiles or the baseline of {spec.name} changed each of {TRIES} times while its days were scored: other runs write "
        "them at the same time. Score the days again when those have ended."
    )


def ensure_thresholds(connect: Connect, spec: MonitorSpec, baseline: Baseline) -> Inputs:
    """The baseline's own data and its thresholds for the present settings, calibrated and stored where it has none."""
    with connect() as connection, transaction(connection):
        inputs = read_days(connection, spec, baseline, [], stored_thresholds(connection, spec, baseline.baseline_id))
    if len(inputs.thresholds):
        return inputs
    found = calibrated(spec, inputs)
    with connect() as connection, transaction(connection):
        store_thresholds(connection, spec, baseline.baseline_id, found)
    return replace(inputs, thresholds=found)


def _scored(spec: MonitorSpec, inputs: Inputs, found: pd.DataFrame) -> ScoredDays:
    baseline_id, thresholds = inputs.baseline.baseline_id, read_thresholds(found)
    scores = score_days(spec, baseline_id, inputs.reference, inputs.current, inputs.days, thresholds)
    # A segment that a window does not hold says nothing, whatever other days were asked for.
    scores = scores[scores["segment"].isna() | (scores["current_rows"] > 0)].reset_index(drop=True)
    if inputs.own_version is not None and len(scores):
        without = scores["feature"].isin(spec.prediction.watched) & (scores["current_rows"] == 0)
        scores.loc[without, "reason"] = f"0 rows of version {inputs.own_version}, {spec.drift.minimum_rows} needed"
    together = score_samples(spec, baseline_id, inputs.samples, inputs.days, thresholds)
    parts = [part for part in (scores, together) if len(part)]
    scores = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"day": pd.Series(dtype="object")})
    return ScoredDays(inputs.baseline, inputs.days, scores, inputs.reference, inputs.current, inputs.left_out)


def _stored(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date], scored: Sequence[ScoredDays]
) -> list[ScoredDays]:
    """Replace the days' scores and verdicts; the scored days with their verdicts."""
    connection.register("scored", pd.concat([part.scores for part in scored], ignore_index=True))
    replace_days(connection, table(spec, "drift_scores"), days, "SELECT * FROM scored ORDER BY ALL")
    connection.unregister("scored")
    verdicts = {verdict.day: verdict for verdict in write_verdicts(connection, spec, days)}
    return [replace(part, verdicts={day: verdicts[day] for day in part.days}) for part in scored]
