"""The command line: exit statuses a script can rely on, and output a program can read."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from monitoring_assets.cli import app


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    random = np.random.default_rng(0)
    one = pd.DataFrame({"x, [bold]y[/]": random.normal(size=300), "code": random.integers(0, 3, 300), "gap": np.nan})
    tables = {"one": one, "moved": one.assign(**{"x, [bold]y[/]": one["x, [bold]y[/]"] + 1}), "empty": one[:0]}
    for name, table in tables.items():
        table.to_parquet(tmp_path / f"{name}.parquet")
    return {name: str(tmp_path / f"{name}.parquet") for name in tables}


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["drift", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_quiet_is_0_drifted_is_1_and_no_verdict_is_2(files: dict[str, str]) -> None:
    assert run(files["one"], files["one"])[0] == 0
    assert run(files["one"], files["moved"])[0] == 1
    assert run(files["one"], files["empty"])[0] == 2
    code, out, err = run(files["one"], files["one"] + ".absent")
    assert (code, out) == (2, "")
    assert "SourceUnreadable: the current: no file at" in err
    assert run(files["one"])[0] == 2


def test_the_table_is_reported_within_100_columns_with_the_worst_first(files: dict[str, str]) -> None:
    code, out, _ = run(files["one"], files["moved"])
    lines = out.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[1].startswith("x, [bold]y[/]")
    assert "1 of 3 features drifted" in out
    assert code == 1


def test_json_is_all_of_the_output_and_has_null_where_nothing_is_defined(files: dict[str, str]) -> None:
    code, out, _ = run(files["one"], files["moved"], "--json")
    reported = json.loads(out, parse_constant=pytest.fail)
    assert (code, reported["drifted_features"], reported["is_drifted"]) == (1, ["x, [bold]y[/]"], True)
    undefined = [row for row in reported["scores"] if row["feature"] == "gap" and row["method"] == "ks"]
    assert undefined[0]["score"] is None
    assert undefined[0]["reason"] == "all values are missing in the reference"


def test_columns_methods_and_kinds_can_be_chosen(files: dict[str, str]) -> None:
    _, out, _ = run(files["one"], files["moved"], "--json", "--features", '"x, [bold]y[/]",code', "--methods", "psi,js",
                    "--categorical", "code", "--false-alarm-rate", "0.05")  # fmt: skip
    reported = json.loads(out)
    assert {(row["feature"], row["method"], row["kind"]) for row in reported["scores"]} == {
        (name, method, kind) for name, kind in (("x, [bold]y[/]", "numeric"), ("code", "categorical")) for method in ("psi", "js")
    }


def test_the_page_is_written_or_the_reason_told(files: dict[str, str], tmp_path: Path) -> None:
    assert run(files["one"], files["one"], "--html", str(tmp_path / "drift.html"))[0] == 0
    assert (tmp_path / "drift.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    code, _, err = run(files["one"], files["one"], "--html", str(tmp_path / "no" / "drift.html"))
    assert code == 2
    assert "cannot be written: No such file" in err


@pytest.mark.slow
def test_progress_is_shown_on_a_terminal_and_nowhere_else(files: dict[str, str]) -> None:
    command = [sys.executable, "-m", "monitoring_assets.cli", "drift", files["one"], files["moved"]]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (plain.returncode, plain.stderr) == (1, "")
    terminal, inner = pty.openpty()
    shown = subprocess.run(command, stdout=subprocess.PIPE, stderr=inner, text=True, check=False)
    os.close(inner)
    assert b"Comparing columns" in os.read(terminal, 10_000)
    os.close(terminal)
    assert shown.stdout == plain.stdout
