"""Which columns are compared, and as what: numbers with marks for missing values, columns of one table only, labels of rows."""

import gzip
import json
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from monitoring_assets.cli import app
from monitoring_assets.comparison.compare import Options, drift_report
from monitoring_assets.drift import compare

ROWS = 2_000


def normal(shift: float, seed: int, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(seed).normal(10 + shift, 1, rows)


def marked(values: np.ndarray, mark: str, every: int = 7) -> pd.Series:
    """The values as text, every seventh as a mark."""
    texts = pd.Series(values.round(4).astype(str))
    texts[::every] = mark
    return texts


def written(path: Path, frame: pd.DataFrame) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.name.endswith(".jsonl.gz"):
        rows = frame.to_dict("records")
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("mark", ["n/a", "N/A", "NaN", "-", "?", " none ", "null", "", "#N/A"])
@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl.gz"])
def test_a_shift_is_found_in_numbers_whatever_stands_for_a_missing_one(tmp_path: Path, mark: str, ending: str) -> None:
    paths = [
        written(tmp_path / f"{seed}.{ending}", pd.DataFrame({"x": marked(normal(shift, seed), mark)}))
        for seed, shift in ((0, 0.0), (1, 3.0))
    ]
    report = drift_report(*paths)
    assert (report.columns[0].kind, report.drifted) == ("numeric", ["x"])
    assert report.scores.set_index("method").loc["wasserstein", "score"] == pytest.approx(3, rel=0.1)
    missing = [float(side.missing[0] / side.rows[0]) for side in report.histograms["x"]]
    assert missing == pytest.approx([1 / 7, 1 / 7], abs=0.001)


def test_marks_are_named_in_the_notes_and_more_of_them_are_drift_of_missingness() -> None:
    one, other = (pd.DataFrame({"x": marked(normal(0, seed), "n/a", every)}) for seed, every in ((0, 50), (1, 5)))
    report = drift_report(one, other)
    assert report.notes == ["numbers in which these texts count as missing values: x ('n/a')"]
    found = report.scores.set_index("method")
    assert found.loc["missingness", "drifted"]
    assert not found.loc["ks", "drifted"]


def test_numbers_on_one_side_and_marked_numbers_on_the_other_are_numbers() -> None:
    one, other = pd.DataFrame({"x": normal(0, 0)}), pd.DataFrame({"x": marked(normal(0, 1), "-")})
    assert drift_report(one, other).columns[0].kind == "numeric"
    lost = compare(one, pd.DataFrame({"x": ["n/a"] * ROWS})).set_index("method")
    assert (lost.loc["missingness", "score"], lost.loc["missingness", "drifted"]) == (1, True)


def test_numbers_and_marks_in_one_frame_are_numbers_too() -> None:
    one, other = (pd.DataFrame({"x": [*normal(shift, seed).tolist(), "n/a"]}) for seed, shift in ((0, 0.0), (1, 1.0)))
    assert drift_report(one, other).drifted == ["x"]


def test_codes_and_words_stay_categories_and_a_doubtful_column_is_named() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "postcode": random.choice(["01011", "09013", "n/a"], ROWS), "answer": random.choice(["-", "?", "n/a"], ROWS),
            "size": random.choice(["1", "2", "40"], ROWS), "mostly": random.choice(["1", "2", "3", "4", "oops"], ROWS),
        }
    )  # fmt: skip
    report = drift_report(frame, frame)
    assert {column.kind for column in report.columns} == {"categorical"}
    assert report.notes == ["compared as categories although most values are numbers: mostly ('oops' is none)"]


def test_a_late_mark_is_seen() -> None:
    texts = pd.Series(normal(0, 0, 30_000).round(3).astype(str))
    texts[29_990:] = "n/a"
    assert drift_report(pd.DataFrame({"x": texts}), pd.DataFrame({"x": normal(0, 1)})).columns[0].kind == "numeric"


def test_a_column_gone_or_new_is_drift_of_the_schema_with_exit_status_1(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": normal(0, 0), "y": normal(0, 1)})
    one = written(tmp_path / "one.parquet", frame)
    other = written(tmp_path / "other.parquet", frame.rename(columns={"y": "z"}))
    for output in ([], ["--json"]):
        result = CliRunner().invoke(app, ["drift", str(one), str(other), *output])
        assert result.exit_code == 1
        assert "gone from the current table: y" in result.stdout.replace("\n", " ")
        assert "new in it: z" in result.stdout.replace("\n", " ")
    reported = json.loads(result.stdout)
    assert (reported["schema"], reported["is_drifted"], reported["drifted_features"]) == (
        {"y": "gone", "z": "new"},
        True,
        ["y", "z"],
    )
    assert CliRunner().invoke(app, ["drift", str(one), str(other), "--features", "x"]).exit_code == 0
    found = compare(one, other).set_index("feature")
    assert found.loc[["y", "z"], "change"].tolist() == ["gone", "new"]
    assert found.loc[["y", "z"], "drifted"].all()


def test_json_lines_give_the_scores_of_the_same_rows_in_other_files(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    n, c, b = random.integers(0, 9, 500), random.choice(list("ab"), 500), random.random(500) < 0.5
    sides = [pd.DataFrame({"x": random.normal(shift, 1, 500), "n": n, "c": c, "b": b}) for shift in (0.0, 0.4)]
    expected = compare(*sides)
    for ending in ("jsonl", "ndjson", "jsonl.gz", "ndjson.gz"):
        paths = []
        for place, side in enumerate(sides):
            text = side.to_json(orient="records", lines=True, double_precision=15).encode()
            paths.append(tmp_path / f"{place}.{ending}")
            paths[-1].write_bytes(gzip.compress(text) if ending.endswith("gz") else text)
        pd.testing.assert_frame_equal(compare(*paths), expected, rtol=1e-9)
    (tmp_path / "broken.jsonl").write_text('{"x": 1}\n{"x": \n')
    result = CliRunner().invoke(app, ["drift", str(tmp_path / "broken.jsonl"), str(paths[0])])
    assert result.exit_code == 2
    assert "broken.jsonl cannot be read" in result.stderr


def log(first_row: int, rows: int, seed: int, in_order: bool = True) -> pd.DataFrame:
    """A prediction log as serving systems write it: labels of rows, and features that are as distinct as these."""
    random = np.random.default_rng(seed)
    started = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta((first_row + np.arange(rows)) * 600, unit="s")
    days = pd.to_timedelta(random.exponential(400, rows), unit="D")
    frame = pd.DataFrame(
        {
            "id": first_row + np.arange(rows),
            "uuid": [str(uuid.UUID(int=int(number))) for number in random.integers(0, 2**62, rows)],
            "order": [f"A-{number:09}" for number in first_row + np.arange(rows)],
            "at": started,
            "day": started.tz_convert(None).floor("D"),
            "unix_ms": started.astype("int64") // 1_000_000 + random.integers(0, 999, rows),
            "score": random.random(rows),
            "amount_cents": random.lognormal(9, 1, rows).astype(int),
            "amount": random.gamma(2, 30, rows),
            "born": pd.Timestamp("1950-01-01") + pd.to_timedelta(random.integers(0, 20_000, rows), unit="D"),
            "seen": pd.Timestamp("2025-12-31") - days,
            "population": random.integers(0, 10_000_000, rows),
            "age": random.integers(18, 90, rows),
            "zip": random.integers(1000, 9999, rows),
            "city": random.choice([f"city {place}" for place in range(900)], rows),
            "ratio": random.integers(0, 10**12, rows) / 7,
        }
    )
    return frame if in_order else frame.sample(frac=1, random_state=seed)


LABELS = {"id", "uuid", "order", "at", "day", "unix_ms"}


@pytest.mark.slow
@pytest.mark.parametrize("rows", [(3_000, 3_000), (500, 2_500), (30_000, 4_000)])
def test_labels_of_rows_are_left_out_with_a_sentence_and_no_feature_is(rows: tuple[int, int]) -> None:
    sides = log(0, rows[0], 1), log(rows[0], rows[1], 2)
    report = drift_report(*sides)
    assert set(report.left_out) == LABELS
    assert not report.drifted
    assert all("--features" in why for why in report.left_out.values())


def test_labels_come_back_when_they_are_named() -> None:
    report = drift_report(log(0, 3_000, 1), log(3_000, 3_000, 2), Options(features=["id", "at", "age"]))
    assert set(report.histograms) == {"id", "at", "age"}
    assert set(report.drifted) == {"id", "at"}
    assert set(drift_report(log(0, 300, 1), log(300, 300, 2), Options(categorical=["order"])).histograms) >= {"order", "age"}


def test_rows_in_any_order_hide_no_feature_and_show_ids_and_later_times() -> None:
    report = drift_report(log(0, 3_000, 1, in_order=False), log(3_000, 3_000, 2, in_order=False))
    assert set(report.left_out) == LABELS - {"unix_ms"}


@pytest.mark.slow
@pytest.mark.parametrize("column", ["amount_cents", "age", "population", "amount", "born", "zip", "ratio", "city"])
def test_a_feature_that_moved_is_found_though_both_tables_are_sorted_by_another(column: str) -> None:
    sides = [log(0, 2_000, seed).sort_values("score") for seed in (1, 2)]
    moved = sides[1].copy()
    if column == "city":
        moved[column] = moved[column].str.replace("city 1", "town 1")
    elif column == "born":
        moved[column] += pd.Timedelta(days=5_000)
    else:
        moved[column] = (moved[column] * 1.6).astype(moved[column].dtype)
    assert column in drift_report(sides[0], moved).drifted


@pytest.mark.slow
@pytest.mark.parametrize("column", ["amount_cents", "population", "amount", "score"])
def test_a_table_sorted_by_a_feature_keeps_it(column: str) -> None:
    sides = [log(0, 2_000, seed).sort_values(column) for seed in (1, 2)]
    sides[1][column] = (sides[1][column] * 1000).astype(sides[1][column].dtype)
    assert column in drift_report(*sides).drifted


def test_an_id_that_is_no_longer_one_and_times_of_a_wrong_century_are_compared() -> None:
    one, other = log(0, 2_000, 1), log(2_000, 2_000, 2)
    other["order"], other["at"] = other["order"].iloc[0], pd.Timestamp("2126-01-01", tz="UTC")
    assert {"order", "at"} <= set(drift_report(one, other).drifted)


def test_a_table_of_labels_alone_is_compared() -> None:
    one = pd.DataFrame({"id": range(100)})
    assert drift_report(one, one + 50).drifted == ["id"]
