"""Laws of the scores of all features together: closed forms, parity with scikit-learn and scipy, what only they can find."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.decomposition import PCA

from monitoring_assets.drift.multivariate import CLASSIFIER_ROWS, Encoding, Structure, pair_z, projected, score
from monitoring_assets.drift.multivariate_scores import compare_samples

CHEAP = ["pca_reconstruction", "correlation"]
KINDS = {"a": "numeric", "b": "numeric", "c": "numeric", "d": "categorical"}


def correlated(generator: np.random.Generator, rows: int, rho: float) -> pd.DataFrame:
    """Two standard normals of correlation rho, one more and a category, all independent of them."""
    a, b, c = generator.normal(size=(3, rows))
    return pd.DataFrame({"a": a, "b": rho * a + np.sqrt(1 - rho**2) * b, "c": c, "d": generator.choice(list("xyz"), rows)})


def structure_of(frame: pd.DataFrame, kinds: dict[str, str]) -> tuple[Encoding, Structure]:
    encoding = Encoding.fit(frame, kinds)
    return encoding, Structure.of(encoding.matrix(frame), encoding.names)


def scored(method: str, reference: np.ndarray, current: np.ndarray):
    structure = Structure.of(reference, [f"f{i}" for i in range(reference.shape[1])])
    return score(method, structure, projected(method, structure, current))


@pytest.mark.parametrize("method", CHEAP)
def test_a_sample_compared_with_itself_scores_zero(method):
    rows = np.random.default_rng(0).normal(size=(500, 4))
    assert scored(method, rows, rows).score == pytest.approx(0, abs=1e-12)


def test_the_classifier_cannot_tell_a_sample_from_another_of_the_same_rows():
    generator = np.random.default_rng(0)
    n, bound = CLASSIFIER_ROWS, 4 * np.sqrt((2 * CLASSIFIER_ROWS + 1) / (12 * CLASSIFIER_ROWS**2))
    found = scored("domain_classifier", generator.normal(size=(n, 3)), generator.normal(size=(n, 3)))
    assert abs(found.score - 0.5) < bound


def test_a_classifier_separates_what_does_not_overlap_and_names_the_feature():
    generator = np.random.default_rng(0)
    moved = generator.normal([0, 50, 0], size=(300, 3))
    found = scored("domain_classifier", generator.normal(size=(300, 3)), moved)
    assert found.score > 0.99  # a histogram bin may hold the last row of one side and the first of the other
    assert found.detail.startswith("AUC lost without: f1 ")


@pytest.mark.parametrize("method", [*CHEAP, "domain_classifier"])
def test_the_order_of_rows_does_not_matter(method):
    generator = np.random.default_rng(1)
    frame, other = correlated(generator, 1_500, 0.5), correlated(generator, 1_200, 0.2)
    found = compare_samples(frame, other, KINDS, [method])
    again = compare_samples(frame.sample(frac=1, random_state=2), other.sample(frac=1, random_state=3), KINDS, [method])
    assert again["score"][0] == pytest.approx(found["score"][0], abs=1e-12)
    assert again["detail"][0] == found["detail"][0]


@pytest.mark.parametrize("hole", [0.0, 0.2])
def test_correlations_are_those_of_pairwise_complete_rows(hole):
    generator = np.random.default_rng(2)
    rows = generator.normal(size=(300, 4)) @ generator.normal(size=(4, 4))
    rows[generator.random(rows.shape) < hole] = np.nan
    expected = pd.DataFrame(rows).corr().to_numpy()[np.triu_indices(4, 1)]
    assert np.tanh(pair_z(rows)) == pytest.approx(expected, abs=1e-12)


def test_ranks_give_spearmans_correlation():
    rows = np.exp(np.random.default_rng(3).normal(size=(200, 2)) @ [[1, 0.7], [0, 1]])
    structure = Structure.of(rows, ["a", "b"])
    assert np.tanh(structure.z)[0] == pytest.approx(stats.spearmanr(rows).statistic, abs=1e-12)


def test_a_correlation_that_flips_scores_twice_its_fisher_z():
    generator = np.random.default_rng(4)
    before, after = (correlated(generator, 100_000, rho)[["a", "b"]].to_numpy() for rho in (0.6, -0.6))
    spearman = 6 / np.pi * np.arcsin(0.3)  # Spearman's correlation of normals whose Pearson's is 0.6
    assert scored("correlation", before, after).score == pytest.approx(2 * np.arctanh(spearman), abs=0.02)


def test_reconstruction_is_scikit_learns():
    generator = np.random.default_rng(5)
    rows = generator.normal(size=(400, 6)) @ generator.normal(size=(6, 6))
    current = generator.normal(size=(300, 6))
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    pca = PCA(n_components=0.65, svd_solver="full").fit((rows - centre) / spread)

    def error(matrix):
        z = (matrix - centre) / spread
        return np.linalg.norm(z - pca.inverse_transform(pca.transform(z)), axis=1).mean()

    assert scored("pca_reconstruction", rows, current).score == pytest.approx(abs(error(current) / error(rows) - 1), rel=1e-9)


def test_rows_in_the_span_of_the_components_are_reconstructed_without_error():
    generator = np.random.default_rng(6)
    rows = generator.normal(size=(400, 4)) * [1, 1, 1, 1] + generator.normal(size=(400, 1)) * 3
    structure = Structure.of(rows, list("abcd"))
    inside = generator.normal(size=(50, len(structure.components))) @ structure.components
    assert structure.unexplained(inside) == pytest.approx(np.zeros((50, 4)), abs=1e-12)
    assert score("pca_reconstruction", structure, structure.unexplained(inside)).score == pytest.approx(1.0)


@pytest.mark.parametrize("method", [*CHEAP, "domain_classifier"])
def test_margins_that_stay_while_a_correlation_flips_are_found(method):
    generator = np.random.default_rng(7)
    found = compare_samples(correlated(generator, 1_000, 0.7), correlated(generator, 900, -0.7), KINDS, [method]).iloc[0]
    assert found["score"] > found["threshold"]
    # No feature alone tells: their margins are the same.
    assert found["feature"] == "(all features)"
    if method == "correlation":
        assert found["detail"].startswith("a and b +0.")


@pytest.mark.slow
@pytest.mark.parametrize("rows", [100, 900])
def test_quiet_samples_alarm_at_most_at_the_stated_rate(rows):
    generator = np.random.default_rng(8)
    reference = correlated(generator, 3_000, 0.7)
    rounds = 60
    alarms = 0
    for _ in range(rounds):
        found = compare_samples(reference, correlated(generator, rows, 0.7), KINDS, CHEAP)
        alarms += bool((found["score"] > found["threshold"]).any())
    assert alarms / rounds <= 0.01 + 3 * np.sqrt(0.01 / rounds)


@pytest.mark.parametrize(
    ("reference", "current", "method", "reason"),
    [
        (np.ones((50, 2)), np.ones((50, 2)), "correlation", "none does"),
        (np.column_stack([np.arange(50.0), np.ones(50)]), np.ones((50, 2)), "pca_reconstruction", "only 'f0' does"),
        (np.arange(100.0).reshape(50, 2), np.ones((50, 2)), "pca_reconstruction", "features repeat each other"),
        (np.random.default_rng(0).normal(size=(50, 2)), np.zeros((0, 2)), "correlation", "0 rows"),
        (np.random.default_rng(0).normal(size=(50, 2)), np.ones((50, 2)), "correlation", "no two features vary"),
        (np.random.default_rng(0).normal(size=(50, 2)), np.ones((4, 2)), "domain_classifier", "4 rows, 6 needed"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_says_why(reference, current, method, reason):
    found = scored(method, reference, current)
    assert np.isnan(found.score)
    assert reason in found.reason


def test_a_score_that_is_undefined_has_a_reason_and_no_threshold():
    found = compare_samples(pd.DataFrame({"a": [1.0, 2.0]}), pd.DataFrame({"a": [1.0]}), {"a": "numeric"}, CHEAP)
    assert found["score"].isna().all()
    assert found["threshold"].isna().all()
    assert found["reason"].str.contains("only 'a' does").all()


def test_categories_that_are_equally_common_stay_apart():
    frame = pd.DataFrame({"a": np.arange(100.0), "d": ["x", "y"] * 50})
    encoding, structure = structure_of(frame, {"a": "numeric", "d": "categorical"})
    assert structure.names == ["a", "d"]
    assert len(np.unique(encoding.matrix(frame)[:, 1])) == 2
