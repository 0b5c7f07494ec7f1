"""Files as they lie about: other encodings, broken lines, decimal commas, JSON arrays and times as text."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monitoring_assets.comparison.compare import drift_report
from monitoring_assets.errors import SourceUnreadable

ROWS = 200


def good(seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({"amount": random.lognormal(size=ROWS).round(3), "country": random.choice(["NL", "DE"], ROWS)})


CSV_ROWS = b"amount,country\n" + b"1.5,NL\n" * 200


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", CSV_ROWS + "2.5,Café\n".encode("latin1"), ["not UTF-8", "0xe9", "iconv -f latin1"]),
        ("a.csv", (CSV_ROWS * 100) + b"2.5,Caf\xe9\n", ["not UTF-8", "iconv -f latin1"]),
        ("a.csv", CSV_ROWS.decode().encode("utf-16"), ["not UTF-8", "iconv -f utf-16"]),
        ("a.csv", CSV_ROWS + b"1.5,NL,more\n", ["3 values on line 202", "2 names", "','", "correct that line"]),
        ("a.csv", CSV_ROWS + b"1.5\n", ["1 value on line 202", "2 names"]),
        ("a.jsonl", b'{"amount": 1}\n' * 5 + b'{"amount": 2\n', ["no JSON on line 6", "correct that line"]),
        ("a.jsonl", b"hello\n", ["no JSON on line 1", "'hello'"]),
        ("a.jsonl", b"\n", ["no JSON objects"]),
        ("a.xlsx", b"PK\x03\x04 and so on", ["neither Parquet, CSV nor JSON lines", "convert it"]),
    ],
)
def test_a_file_that_cannot_be_read_names_the_line_and_the_remedy(
    tmp_path: Path, name: str, content: bytes, words: list[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceUnreadable) as refused:
        drift_report(good(), tmp_path / name)
    assert name in str(refused.value)
    assert not [word for word in words if word not in str(refused.value)], str(refused.value)


def test_decimal_commas_are_numbers(tmp_path: Path) -> None:
    good(1).to_csv(tmp_path / "comma.csv", sep=";", decimal=",", index=False)
    good(1).to_csv(tmp_path / "point.csv", sep=";", index=False)
    for name in ("comma.csv", "point.csv"):
        report = drift_report(good(), tmp_path / name)
        assert {column.name: column.kind for column in report.columns} == {"amount": "numeric", "country": "categorical"}
        assert report.histograms["amount"][1].maximum[0] == pytest.approx(good(1)["amount"].max())


@pytest.mark.parametrize("lines", [False, True])
def test_a_json_file_may_hold_an_array_or_lines(tmp_path: Path, lines: bool) -> None:
    good(1).to_json(tmp_path / "a.json", orient="records", lines=lines)
    report = drift_report(good(), tmp_path / "a.json")
    assert (report.rows, len(report.columns)) == ((ROWS, ROWS), 2)


def test_times_are_compared_with_their_text_in_json(tmp_path: Path) -> None:
    times = [
        pd.Series(pd.Timestamp("2026-01-01") + pd.to_timedelta(np.random.default_rng(s).uniform(0, 9e5, ROWS), "s"))
        for s in (0, 1)
    ]
    moved = [times[0], times[1] + pd.Timedelta(days=30)]
    for current, is_drifted in ((times[1], False), (moved[1], True)):
        rows = [{"born": moment.isoformat()} for moment in current]
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        report = drift_report(pd.DataFrame({"born": times[0]}), tmp_path / "a.jsonl")
        assert (report.columns[0].kind, bool(report.drifted)) == ("numeric", is_drifted)


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_numbers_that_went_missing_are_called_missing_and_not_a_shift(missing: float) -> None:
    current = good(1)
    current.loc[::3, "amount"] = missing
    assert drift_report(good(), current).features.set_index("feature").loc["amount", "change"] == "missing"
