"""`estimate` and `realised` of tables: any form they come in, what is no score or label named, and the command."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn import metrics as sklearn_metrics
from typer.testing import CliRunner

from monitoring_assets.cli import app
from monitoring_assets.errors import ColumnUnusable, EstimateImpossible, PermanentError
from monitoring_assets.performance import estimate, realised

COLUMNS = ["metric", "value", "lower", "upper", "method", "effective_rows", "reason"]


def rows(count: int, seed: int = 0, shift: float = 0.0) -> pd.DataFrame:
    """A model that ignores `z`, so that a shift of it is not in the scores."""
    random = np.random.default_rng(seed)
    x, z = random.normal(size=count), random.normal(shift, 1, count)
    labels = random.random(count) < 1 / (1 + np.exp(-x - z))
    return pd.DataFrame(
        {"x": x, "z": z, "c": random.choice(list("abc"), count), "score": 1 / (1 + np.exp(-0.85 * x)), "label": labels}
    )


REFERENCE, CURRENT = rows(3_000), rows(800, 1)


def test_an_estimate_has_a_row_per_metric_with_an_interval_that_holds_what_the_labels_show() -> None:
    found = estimate(REFERENCE, CURRENT.drop(columns="label"))
    assert list(found.columns) == COLUMNS
    truth = realised(CURRENT)
    assert list(found["metric"]) == list(truth["metric"])
    assert ((found["lower"] <= truth["value"]) & (truth["value"] <= found["upper"])).mean() >= 0.8
    assert set(found["method"]) == {"cbpe"}
    assert set(found["effective_rows"]) == {3_000.0}
    assert set(truth["effective_rows"]) == {800.0}
    assert truth.set_index("metric")["value"]["auc"] == pytest.approx(
        sklearn_metrics.roc_auc_score(CURRENT["label"], CURRENT["score"])
    )
    assert found["reason"].isna().all()


def test_frames_arrow_tables_and_files_have_the_same_estimate(tmp_path: Path) -> None:
    expected = estimate(REFERENCE, CURRENT, metrics=["auc", "f1"])
    REFERENCE.to_parquet(tmp_path / "before.parquet")
    CURRENT.drop(columns="label").to_csv(tmp_path / "now.csv", index=False)
    for pair in (
        (pa.Table.from_pandas(REFERENCE), pa.Table.from_pandas(CURRENT)),
        (tmp_path / "before.parquet", str(tmp_path / "now.csv")),
        (REFERENCE.assign(label=REFERENCE["label"].map({True: "True", False: "0"})), CURRENT.assign(label=7.5)),
    ):
        pd.testing.assert_frame_equal(estimate(*pair, metrics=["auc", "f1"]), expected)


def test_rows_without_a_score_or_a_label_are_left_out() -> None:
    gaps = REFERENCE.assign(label=REFERENCE["label"].astype(float))
    gaps.loc[::3, "label"] = np.nan
    gaps.loc[1::3, "score"] = np.nan
    found = estimate(gaps, CURRENT.assign(score=CURRENT["score"].where(CURRENT.index % 2 == 0)), metrics=["accuracy"])
    expected = estimate(gaps.dropna(), CURRENT[CURRENT.index % 2 == 0], metrics=["accuracy"])
    pd.testing.assert_frame_equal(found, expected)
    assert estimate(REFERENCE, CURRENT.assign(score=np.nan), metrics=["auc"])["reason"].tolist() == ["no scores"]


def test_a_predicted_class_is_taken_from_its_column() -> None:
    now = CURRENT.assign(predicted=np.where(CURRENT["score"] > 0.3, "true", "false"))
    found = estimate(REFERENCE.assign(predicted=0), now, prediction="predicted", metrics=["recall", "precision"])
    lower_cut = realised(now, prediction="predicted", metrics=["recall", "precision"])
    assert found["value"].to_numpy() == pytest.approx(lower_cut["value"].to_numpy(), abs=0.06)
    never = estimate(REFERENCE.assign(predicted=0), now.assign(predicted=0), prediction="predicted")
    assert never.set_index("metric")["reason"]["precision"] == "precision needs a row of predicted class 1, found none"
    assert never["value"].notna().sum() == len(never) - 1, "other metrics are unharmed"


@pytest.mark.slow
def test_each_method_is_for_its_shift_and_doubts_are_reasons() -> None:
    now = rows(2_000, 2, shift=1.0)
    truth = realised(now, metrics=["precision"])["value"][0]
    blind, adapted = (estimate(REFERENCE, now, method=method, metrics=["precision"]).iloc[0] for method in ("cbpe", "pape"))
    assert abs(adapted["value"] - truth) < 0.05 < abs(blind["value"] - truth)
    assert 100 < adapted["effective_rows"] < 2_500
    far = estimate(REFERENCE, rows(2_000, 3, shift=4.0), method="pape", metrics=["precision"]).iloc[0]
    assert "labelled rows resemble today's" in far["reason"]
    assert np.isfinite(far["value"])
    assert "has only 60 labelled rows" in estimate(REFERENCE[:60], CURRENT)["reason"][0]
    assert "all scores of the current table are 0.3" in estimate(REFERENCE, CURRENT.assign(score=0.3))["reason"][0]
    all_ones = estimate(REFERENCE, CURRENT.assign(score=0.999), method="prior_shift", metrics=["accuracy"])
    assert "all labels are 1" in all_ones["reason"][0]


def test_a_regression_is_estimated_by_its_errors() -> None:
    random = np.random.default_rng(0)
    x = random.uniform(0, 2, 1_500)
    table = pd.DataFrame({"x": x, "score": 3 + x, "label": 3 + x + random.normal(0, 0.2 + x)})
    found = estimate(table[:1_000], table[1_000:], method="dle")
    truth = realised(table[1_000:], task="regression")
    assert list(found["metric"]) == list(truth["metric"]) == ["rmse", "mae", "mape", "r2", "bias"]
    assert ((found["lower"] <= truth["value"]) & (truth["value"] <= found["upper"])).sum() >= 4


@pytest.mark.parametrize(
    ("changed", "arguments", "error", "named"),
    [
        ({"score": 1.5}, {}, EstimateImpossible, "3000 scores outside [0, 1], such as 1.5"),
        ({"score": np.inf}, {}, EstimateImpossible, "scores outside [0, 1], such as inf"),
        ({"score": "high"}, {}, ColumnUnusable, "values such as 'high' where numbers were expected"),
        ({"label": 1}, {}, EstimateImpossible, "all 3,000 labels of the reference (pandas DataFrame) are 1"),
        ({"label": 2}, {}, ColumnUnusable, "3000 values such as '2' where 0 or 1, true or false were expected"),
        ({"label": "yes"}, {}, ColumnUnusable, "values such as 'yes'"),
        ({"label": None}, {}, EstimateImpossible, "no row of the reference (pandas DataFrame, 3,000 rows) has both a label"),
        ({}, {"label": "truth"}, ColumnUnusable, "the label column 'truth' of the reference (pandas DataFrame) is missing; it"),
        ({}, {"score": "p"}, ColumnUnusable, "the score column 'p' of the reference"),
        ({}, {"prediction": "class"}, ColumnUnusable, "the prediction column 'class'"),
        ({}, {"features": ["y"], "method": "pape"}, ColumnUnusable, "no column 'y' in the reference"),
        ({}, {"metrics": ["auc", "lift"]}, EstimateImpossible, "unknown metric 'lift'; of a classification there are auc, "),
        ({}, {"metrics": []}, EstimateImpossible, "no metric given"),
        ({}, {"method": "magic"}, EstimateImpossible, "method is 'magic'; one of cbpe, pape, prior_shift, dle was expected"),
    ],
)  # fmt: skip
def test_what_cannot_be_estimated_is_a_named_error(
    changed: dict[str, object], arguments: dict[str, object], error: type[PermanentError], named: str
) -> None:
    with pytest.raises(error) as raised:
        estimate(REFERENCE.assign(**changed), CURRENT, **arguments)
    assert named in str(raised.value)


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["performance", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_says_what_got_worse_by_its_exit_status_its_table_and_its_json(tmp_path: Path) -> None:
    paths = {
        "before": REFERENCE,
        "same": CURRENT.drop(columns="label"),
        "doubtful": CURRENT.assign(score=0.45 + 0.1 * CURRENT["score"]),
    }
    for name, table in paths.items():
        table.to_parquet(tmp_path / f"{name}.parquet")
    before, same, doubtful = (tmp_path / f"{name}.parquet" for name in paths)
    code, out, _ = run(before, same)
    assert (code, max(map(len, out.splitlines())) <= 100) == (0, True)
    assert "not worse than the reference" in " ".join(out.split())
    code, out, _ = run(before, doubtful)
    assert code == 1
    assert "accuracy" in out.split("worse than the reference:")[1]
    assert "realised by the 800 rows" in out
    code, out, _ = run(before, doubtful, "--json", "--metrics", "accuracy,auc")
    reported = json.loads(out, parse_constant=pytest.fail)
    assert (code, reported["is_judged"], [row["metric"] for row in reported["current"]["estimated"]]) == (
        1,
        True,
        ["accuracy", "auc"],
    )
    code, out, err = run(before, same, "--score", "p")
    assert (code, out) == (2, "")
    assert "ColumnUnusable: the score column 'p'" in err
