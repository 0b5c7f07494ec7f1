"""Laws of the tables that are compared: their names, types and files, and what cannot be compared is named."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monitoring_assets.comparison.compare import Options, drift_report
from monitoring_assets.drift import compare
from monitoring_assets.errors import ColumnUnusable, ComparisonImpossible, SourceUnreadable

RANDOM = np.random.default_rng(3)


def frame(rows: int = 200, shift: float = 0.0, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({"x": random.normal(shift, 1, rows), "c": random.choice(list("abc"), rows)})


def scores(reference: object, current: object, **kwargs: object) -> pd.Series:
    return compare(reference, current, **kwargs).set_index(["feature", "method"])["score"]


HOSTILE = [
    'a"b',
    "it's",
    "x; DROP TABLE profiles",
    "naïve Ünïcode 列",
    "[bold]x[/]",
    "day",
    "",
    " ",
    "c0",
    "A",
    "a",
    "weight",
    "%s{0}",
]


def test_hostile_names_are_names(tmp_path: Path) -> None:
    sides = [pd.DataFrame({name: RANDOM.normal(size=50) for name in HOSTILE}) for _ in range(2)]
    assert set(compare(*sides)["feature"]) == set(HOSTILE)
    in_files = [name for name in HOSTILE if name not in {"A", "", " "}]
    for kind in ("parquet", "csv"):
        paths = [tmp_path / f"it's {place} [x].{kind}" for place in range(2)]
        for side, path in zip(sides, paths, strict=True):
            side[in_files].to_parquet(path) if kind == "parquet" else side[in_files].to_csv(path, index=False)
        assert set(compare(*paths)["feature"]) == set(in_files), kind


def test_names_that_come_twice_are_refused(tmp_path: Path) -> None:
    twice = pd.DataFrame(np.ones((40, 2)), columns=["x", "x"])
    with pytest.raises(ColumnUnusable, match="same name: 'x', 'x'"):
        compare(twice, twice)
    frame().rename(columns={"c": "X"}).to_parquet(tmp_path / "t.parquet")
    frame().rename(columns={"c": "X"}).to_csv(tmp_path / "t.csv", index=False)
    for name in ("t.parquet", "t.csv"):
        with pytest.raises(ColumnUnusable, match=f"{name}: columns with the same name but for upper and lower case: 'x', 'X'"):
            compare(tmp_path / name, tmp_path / name)


def test_columns_of_one_side_and_nested_ones_are_left_out_and_named() -> None:
    one = frame().assign(only=1, nested=[[1]] * 200, raw=[b"x"] * 200)
    report = drift_report(one, frame().assign(other=1, nested=[[1]] * 200, raw=[b"x"] * 200))
    assert set(report.histograms) == {"x", "c"}
    assert report.schema == {"only": "gone", "other": "new"}
    assert report.left_out["nested"].startswith("of type BIGINT[] in the reference")
    with pytest.raises(ColumnUnusable, match="column 'nested' cannot be compared: of type BIGINT"):
        compare(one, one, features=["nested"])


def test_contradictory_types_are_reported_together_and_can_be_taken_as_categories() -> None:
    one, other = frame().assign(y=1, t="a"), frame().assign(y="oops", t=pd.Timestamp("2026-01-01"))
    with pytest.raises(ComparisonImpossible) as reported:
        compare(one, other)
    for part in (
        "2 column(s)",
        "'y' has BIGINT in the reference (such as '1')",
        "VARCHAR in the current (such as 'oops')",
        "'t'",
    ):
        assert part in str(reported.value)
    assert set(compare(one, other, features=["x"])["feature"]) == {"x"}
    found = compare(one, other, categorical=["y", "t"]).set_index("feature")
    assert (found.loc[["y", "t"], "kind"] == "categorical").all()
    assert found.loc["y", "drifted"].any()


@pytest.mark.slow
def test_the_same_codes_are_the_same_categories_however_they_are_stored() -> None:
    codes = np.repeat([7, 8], 50)
    kinds = [codes, codes.astype(float), codes.astype(str), [Decimal(int(code)) for code in codes]]
    for one in kinds:
        for other in kinds:
            assert (scores(pd.DataFrame({"x": one}), pd.DataFrame({"x": other}), features={"x": "categorical"}) == 0).all()


def test_a_text_in_a_csv_column_of_numbers_is_shown(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "one.csv", index=False)
    frame().astype({"x": object}).replace({"x": {frame()["x"][150]: "oops"}}).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(
        ComparisonImpossible, match=r"'x' has DOUBLE in the reference .* VARCHAR in the current \(such as 'oops'\)"
    ):
        compare(tmp_path / "one.csv", tmp_path / "other.csv")
    with pytest.raises(ComparisonImpossible, match=r"'c' has VARCHAR .* and is to be numeric"):
        compare(frame(), frame(), features={"c": "numeric"})


def test_a_csv_column_without_values_is_of_the_other_sides_type(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "one.csv", index=False)
    frame().assign(x=None).to_csv(tmp_path / "other.csv", index=False)
    found = compare(tmp_path / "one.csv", tmp_path / "other.csv").set_index(["feature", "method"])
    assert found.loc[("x", "missingness"), "score"] == 1
    assert found.loc[("x", "missingness"), "drifted"]
    assert found.loc[("x", "ks"), "reason"] == "all values are missing in the current table"


def test_files_of_one_side_may_differ_in_type_and_columns(tmp_path: Path) -> None:
    pd.DataFrame({"x": np.arange(40)}).to_parquet(tmp_path / "1.parquet")
    pd.DataFrame({"x": np.arange(40) + 0.5, "y": 1}).to_parquet(tmp_path / "2.parquet")
    whole = pd.DataFrame({"x": np.concatenate([np.arange(40), np.arange(40) + 0.5]), "y": [None] * 40 + [1] * 40})
    assert (scores(f"{tmp_path}/*.parquet", whole) == 0).all()


@pytest.mark.parametrize(
    ("name", "content", "reported"),
    [
        ("absent.parquet", None, "no file at"), ("*.nothing", None, "no file matches"), ("empty.parquet", b"", "is empty"),
        ("no.parquet", b"hello world", "is not a Parquet file"), ("broken.parquet", b"PAR1 and no more", "cannot be read"),
        ("table.xlsx", b"PK", "JSON lines"), ("bad.csv.gz", b"no gzip", "cannot be read"), (".", None, "is a folder"),
        ("uneven.csv", b"x,c\n1,a\n1,a,b,c\n", "cannot be read"),
        ("latin.csv", "x,c\n1,\u00e9\n".encode("latin-1"), "cannot be read"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str, content: bytes | None, reported: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceUnreadable, match=reported) as error:
        compare(frame(), tmp_path / name)
    assert str(tmp_path) in str(error.value)


def test_arguments_that_make_no_sense_are_reported() -> None:
    for kwargs, reported in (
        ({"methods": ["pci"]}, "unknown method 'pci'; known: psi"), ({"methods": []}, "no method given"),
        ({"false_alarm_rate": 0}, "false_alarm_rate is 0"), ({"features": {"x": "number"}}, "'x' is to be 'number'"),
        ({"features": []}, "no column in common"),
    ):  # fmt: skip
        with pytest.raises(ComparisonImpossible, match=reported):
            compare(frame(), frame(), **kwargs)
    for kwargs in ({"features": ["z"]}, {"weight": "z"}, {"categorical": ["z"]}):
        with pytest.raises(ColumnUnusable, match="no column 'z' in the reference"):
            compare(frame(), frame(), **kwargs)
    with pytest.raises(ComparisonImpossible, match="have no column in common to compare: 'x'"):
        compare(frame(), frame().add_prefix("other "))
    with pytest.raises(ComparisonImpossible, match="the current is a dict"):
        compare(frame(), {"x": [1]})


@pytest.mark.parametrize("rows", [0, 1, 29])
def test_too_few_rows_on_either_side_are_no_verdict(rows: int) -> None:
    for sides, role in (((frame(), frame()[:rows]), "current table"), ((frame()[:rows], frame()), "reference")):
        table = compare(*sides)
        assert table["score"].isna().all()
        assert set(table["reason"]) == {f"the {role} has {rows} rows, 30 needed"}
        assert not drift_report(*sides).is_judged


def test_numbers_beyond_floats_are_compared_and_named() -> None:
    big = pd.DataFrame({"x": [2**70 + place for place in range(40)], "y": np.arange(40, dtype=np.uint64) + 2**63})
    report = drift_report(big, big.assign(x=[-(2**70)] * 40), Options(features=["x", "y"]))
    assert report.features.set_index("feature").loc["x", "drifted"]
    assert report.notes == ["numbers beyond 2^53 are compared as rounded to 64-bit floats: y"]


def test_dates_and_zoned_times_are_numbers() -> None:
    days = pd.date_range("2026-01-01", periods=100)
    one = pd.DataFrame(
        {"at": days, "zoned": days.tz_localize("Europe/Amsterdam"), "day": days.date, "n": np.arange(100) % 2 == 0}
    )
    moved = pd.DataFrame({"at": days, "zoned": days.tz_localize("UTC"), "day": days.date, "n": True})
    report = drift_report(one, moved, Options(features=list(one)))
    assert {column.kind for column in report.columns} == {"numeric"}
    assert report.drifted == ["n"]
