"""Laws of turning scores into severities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring_assets.drift.thresholds import MULTIPLES, SCALES, CalibratedThreshold, excess, from_effect, judgement, to_effect
from monitoring_assets.monitor_spec import SeverityLevels

methods = st.sampled_from(sorted(SCALES))
sizes = st.floats(1, 1e9)


def threshold(method: str, noise: float = 1.0, day_to_day: float = 0.0) -> CalibratedThreshold:
    """Noise that falls with the square root of the rows: `noise` at one row."""
    rows = np.array([10.0, 1e3, 1e5])
    return CalibratedThreshold(method, rows, noise / np.sqrt(rows), day_to_day)


def per_row(method: str, rows: np.ndarray) -> np.ndarray | float:
    return rows if method == "chi2" else 1.0


# The first call imports scipy.
@settings(deadline=None)
@given(methods, st.floats(0, 0.95), sizes)
def test_the_effect_scale_can_be_undone(method, score, rows):
    score = max(score, 0.5) if method == "domain_classifier" else score  # an AUC below tells nothing apart either
    assert from_effect(method, to_effect(method, score, rows), rows) == pytest.approx(score, abs=1e-9)


@given(methods, sizes, st.floats(1, 100), st.floats(0.1, 10), st.floats(0, 3))
def test_effects_must_be_smaller_to_alarm_when_there_are_more_rows(method, rows, times, noise, day_to_day):
    sizes = np.array([rows, rows * times])
    few, many = to_effect(method, threshold(method, noise, day_to_day).cuts(sizes)[0], per_row(method, sizes))
    assert many <= few * (1 + 1e-6)


@given(methods, sizes, st.floats(0, 10), st.floats(0, 3))
def test_a_threshold_is_never_below_the_practical_floor(method, rows, noise, day_to_day):
    rows = np.array([rows])
    cuts = threshold(method, noise, day_to_day).cuts(rows)[:, 0]
    floors = np.array(SCALES[method].practical) * per_row(method, rows)
    assert (cuts >= floors * (1 - 1e-9)).all()
    assert cuts[0] <= cuts[1] <= cuts[2]


@given(methods, st.floats(0, 3), st.floats(0.01, 3))
def test_a_more_restless_baseline_has_a_higher_threshold(method, day_to_day, more):
    rows = np.array([920.0])
    calm, restless = (threshold(method, 1.0, value).cuts(rows)[0, 0] for value in (day_to_day, day_to_day + more))
    assert restless >= calm


@given(st.sampled_from(["ks", "js", "tv", "hellinger", "missingness"]), st.floats(0, 100))
def test_a_score_of_one_always_alarms_where_one_is_the_most_there_is(method, day_to_day):
    assert threshold(method, 1.0, day_to_day).cuts(np.array([920.0]))[0, 0] < 1


def test_at_a_million_rows_the_practical_effects_alone_count():
    assert threshold("ks").cuts(np.array([1e7]))[:, 0] == pytest.approx(SCALES["ks"].practical)


def test_severe_is_twice_the_calibrated_threshold_where_noise_is_large():
    cuts = threshold("wasserstein", noise=10.0).cuts(np.array([100.0]))[:, 0]
    assert cuts / cuts[0] == pytest.approx(MULTIPLES)


def test_constant_levels_win_over_calibrated_thresholds():
    levels = SeverityLevels(minor=0.5, moderate=0.6, severe=0.7)
    found = judgement("ks", np.array([0.45, 0.65]), np.full(2, np.nan), np.full(2, 920.0), levels, threshold("ks"))
    assert found.severities.tolist() == ["ok", "moderate"]
    assert found.thresholds.tolist() == [0.5, 0.5]


def test_constant_levels_of_chi2_are_p_values():
    levels = SeverityLevels(minor=0.01, moderate=0.001, severe=0.0001)
    found = judgement("chi2", np.array([1.0, 50.0]), np.array([0.4, 0.0005]), np.full(2, 920.0), levels)
    assert found.severities.tolist() == ["ok", "moderate"]


def test_neither_an_undefined_score_nor_one_without_a_threshold_has_a_severity():
    found = judgement("ks", np.array([np.nan, 0.9]), np.full(2, np.nan), np.full(2, 920.0), None)
    assert found.severities.tolist() == [None, None]
    assert np.isnan(found.thresholds).all()


def test_a_psi_four_times_its_threshold_moved_twice_as_far():
    assert excess("psi", np.array([0.4]), np.array([0.1])) == pytest.approx(2)


def test_a_p_value_at_its_cut_is_at_its_threshold():
    levels = SeverityLevels(minor=0.01, moderate=0.001, severe=0.0001)
    found = judgement("chi2", np.array([9.0, 9.0]), np.array([0.01, 1e-9]), np.full(2, 920.0), levels)
    assert found.excess[0] == pytest.approx(1)
    assert found.excess[1] > 2
