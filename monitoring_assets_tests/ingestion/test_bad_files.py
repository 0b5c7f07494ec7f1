"""Laws of files that cannot be read: a bad one harms no other day, and its own keeps the rows it had."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from monitoring_assets_tests.example_monitor import (
    FIRST,
    SECOND,
    THIRD,
    example_rows,
    example_spec,
    write_day,
    write_file,
)
from monitoring_assets_tests.ingested_days import DAYS, ingest


def damage_the_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4:400] = random.Random(1).randbytes(396)
    path.write_bytes(content)


def a_page_that_is_not_compressed_data(path: Path) -> None:
    """The footer stays sound, so only reading the rows finds out."""
    content = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(0).column(0).data_page_offset
    content[start : start + 60] = b"\xff" * 60
    path.write_bytes(content)


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda path: path.unlink(), "no file at"),
    "empty": (lambda path: path.write_bytes(b""), "0 bytes"),
    "not Parquet": (lambda path: path.write_bytes(b"hello world, " * 9), "cannot be read"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "cannot be read"),
    "damaged": (damage_the_middle, "cannot be read"),
    "damaged behind its header": (a_page_that_is_not_compressed_data, "cannot be read"),
    "without a column": (
        lambda path: write_file(path, example_rows(SECOND).drop(columns="country")),
        "column 'country' is not in",
    ),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("path", ["log/{day}.parquet", "log/*.parquet"])
def test_a_bad_file_leaves_its_day_as_it_was_and_the_other_days_unharmed(tmp_path, kind, path):
    spec = example_spec(tmp_path, log={"path": path})
    for day in DAYS:
        write_day(tmp_path, day, frame=example_rows(day).assign(id=lambda f: f["id"].mask(f.index == 3)))
    before = ingest(tmp_path, spec, DAYS)[1]
    spoil, reason = BAD_FILES[kind]
    spoil(tmp_path / f"log/{SECOND}.parquet")
    write_day(tmp_path, THIRD, rows=7)
    reported, after = ingest(tmp_path, spec, DAYS)
    assert [d.accepted_rows for d in reported] == [19, 19, 7]
    assert [d.unreadable is not None for d in reported] == [False, True, False]
    assert reason in str(reported[1].unreadable)
    assert reported[1].is_absent == (kind == "absent")
    for name in ("inference_log", "quarantine"):
        rows = [row for row in after[name] if row[0] == SECOND and (name != "quarantine" or row[4])]
        assert rows == [row for row in before[name] if row[0] == SECOND]
    notes = [row for row in after["quarantine"] if row[4] is None and row[0] == SECOND]
    assert [Path(row[2]).name for row in notes] == ([] if kind == "absent" else [f"{SECOND}.parquet"])
    assert ingest(tmp_path, spec, DAYS)[1] == after
    if kind != "a folder":
        write_day(tmp_path, SECOND, rows=4)
        reported, fixed = ingest(tmp_path, spec, DAYS)
        assert ([d.accepted_rows for d in reported], fixed["quarantine"]) == (
            [19, 4, 7],
            [r for r in before["quarantine"] if r[0] == FIRST],
        )


def test_a_day_that_was_never_readable_is_empty_and_says_why(tmp_path):
    reported, tables = ingest(tmp_path, example_spec(tmp_path), [FIRST])
    assert (reported[0].delivered_rows, reported[0].is_absent) == (0, True)
    assert reported[0].unreadable == f"no file at {tmp_path}/log/2026-03-02.parquet"
    assert tables["quarantine"] == []


def test_a_glob_without_files_leaves_every_day_as_it_was(tmp_path):
    spec = example_spec(tmp_path, log={"path": "log/*.parquet"})
    write_day(tmp_path, FIRST)
    before = ingest(tmp_path, spec, [FIRST])[1]
    shutil.rmtree(tmp_path / "log")
    reported, after = ingest(tmp_path, spec, [FIRST, SECOND])
    assert [d.is_absent for d in reported] == [True, True]
    assert after["inference_log"] == before["inference_log"]


def test_a_new_bad_file_of_a_glob_warns_on_the_days_it_may_hold(tmp_path):
    spec = example_spec(tmp_path, log={"path": "log/*.parquet"})
    write_day(tmp_path, FIRST)
    (tmp_path / "log/broken.parquet").write_bytes(b"PAR1 half a file")
    reported, tables = ingest(tmp_path, spec, [FIRST])
    assert (reported[0].accepted_rows, reported[0].unreadable) == (20, None)
    assert "broken.parquet: cannot be read" in reported[0].warnings[0]
    assert [Path(row[2]).name for row in tables["quarantine"]] == ["broken.parquet"]


CSV = "id,at,amount,items,country,score,predicted,model\n"
ROW = "{},2026-03-02 10:00,1,1,US,0.5,1,1\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "accepted"),
    [
        (CSV, 0),
        (CSV + ROW.format("#1") + ROW.format("2"), 2),
        ("\ufeff" + CSV + ROW.format("1"), 1),
        ((CSV + ROW.format("1")).replace("\n", "\r\n"), 1),
        ((CSV + ROW.format("1")).replace(",", ";"), 1),
        ((CSV + ROW.format("1")).replace(",", "\t"), 1),
        (CSV + ROW.format('"a ""quoted"", id"'), 1),
        ("a title\n" + CSV + ROW.format("1"), None),
        (ROW.format("1"), None),
    ],
    ids=["header", "hash", "bom", "crlf", "semicolon", "tab", "quotes", "title", "no header"],
)
def test_csv_with_a_header_of_the_columns_needed_is_read(tmp_path, content, accepted):
    spec = example_spec(tmp_path, log={"path": "log/{day}.csv"})
    (tmp_path / "log").mkdir()
    (tmp_path / f"log/{FIRST}.csv").write_bytes(content.encode())
    reported, _ = ingest(tmp_path, spec, [FIRST])
    assert reported[0].accepted_rows == (accepted or 0)
    assert (reported[0].unreadable is None) == (accepted is not None)


@pytest.mark.file_only
def test_files_with_other_delimiters_or_column_orders_or_types_are_read_side_by_side(tmp_path):
    spec = example_spec(tmp_path, log={"path": "log/{day}.csv"})
    frame = write_day(tmp_path, FIRST, path=spec.log.path)
    example_rows(SECOND)[frame.columns[::-1]].to_csv(tmp_path / f"log/{SECOND}.csv", index=False)
    example_rows(THIRD).assign(more=1).to_csv(tmp_path / f"log/{THIRD}.csv", index=False, sep=";")
    _, from_csv = ingest(tmp_path, spec, DAYS)
    (tmp_path / "warehouse.duckdb").unlink()
    for day in DAYS:
        write_day(tmp_path, day)
    write_day(tmp_path, SECOND, frame=example_rows(SECOND).astype({"items": "float32", "amount": "object"}))
    _, from_parquet = ingest(tmp_path, example_spec(tmp_path), DAYS)
    assert from_csv["inference_log"] == from_parquet["inference_log"]
