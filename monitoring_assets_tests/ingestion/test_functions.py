"""Laws of functions that give rows: any form will do, and one that fails leaves its day as it was and says why."""

import pandas as pd
import pyarrow as pa
import pytest

from monitoring_assets.errors import SourceUnavailable, SourceUnreadable
from monitoring_assets_tests.example_monitor import (
    FIRST,
    example_rows,
    example_spec,
    example_warehouse,
    write_day,
)
from monitoring_assets_tests.ingested_days import DAYS, ingest_example, ingest_labels, ingest_log

HERE = __name__


def read_arrow(day, options):
    return pa.Table.from_pandas(example_rows(day), preserve_index=False)


def read_batches(day, options):
    table = read_arrow(day, options)
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=7))


def read_batch(day, options):
    return read_arrow(day, options).to_batches()[0]


def read_frame(day, options):
    return example_rows(day)


def read_path(day, options):
    return f"{options['folder']}/{day}.csv"


def read_paths(day, options):
    return [read_path(day, options)]


@pytest.mark.slow
@pytest.mark.parametrize("reader", [read_arrow, read_batches, read_batch, read_frame, read_path, read_paths])
def test_a_function_may_give_a_day_in_any_of_these_forms(tmp_path, from_parquet, reader):
    for day in DAYS:
        write_day(tmp_path, day, path="elsewhere/{day}.csv")
    log = {"reader": f"{HERE}.{reader.__name__}", "options": {"folder": str(tmp_path / "elsewhere")}}
    assert ingest_example(tmp_path, log=log)[1]["inference_log"] == from_parquet


def read_with_faults(day, options):
    frame = example_rows(day, 3).astype({"amount": "object"})
    frame["at"] = [frame["at"][0], frame["at"][1], pd.Timestamp("2026-07-01")]
    frame.loc[0, "amount"] = "many"
    return frame


def test_a_row_of_a_function_that_breaks_the_contract_is_quarantined_with_the_name_of_the_function_and_the_day(tmp_path):
    reported, tables = ingest_example(tmp_path, [FIRST], log={"reader": f"{HERE}.read_with_faults"})
    assert (reported[0].accepted_rows, reported[0].reasons) == (1, {"not a number": 1, "wrong day": 1})
    assert {row[2] for row in tables["quarantine"]} == {f"{HERE}.read_with_faults ({FIRST})"}


class ServiceDown(SourceUnavailable):
    """What a reader raises that should be tried again."""


def read_badly(day, options):
    match options.get("how"):
        case "raises":
            raise KeyError("no topic")
        case "streams":
            table = read_arrow(day, options)

            def batches():
                yield from table.to_batches()
                raise OSError("the connection was reset")

            return pa.RecordBatchReader.from_batches(table.schema, batches())
        case "lacks":
            return example_rows(day).drop(columns=["amount", "score"])
        case "number":
            return 7
        case "series":
            return example_rows(day)["id"]
        case "path":
            return "/etc/passwd"
        case "absent file":
            return "/nowhere/{day}.parquet"
        case "later":
            raise ServiceDown("the broker does not answer")
    return None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raises", "cannot be read: KeyError: 'no topic' (test_functions.py, line "),
        ("streams", "cannot be read: OSError: the connection was reset (test_functions.py, line "),
        ("lacks", "column 'amount', 'score' is not in the result; it has 'id', 'at'"),
        ("number", "cannot be read: TypeError: expected an Arrow table"),
        ("series", "cannot be read: TypeError: expected a pandas DataFrame, found a Series"),
        ("path", "cannot be read: ValueError: the path '/etc/passwd' ends in none of .parquet"),
        ("absent file", "no file at /nowhere/"),
        (None, "nothing has come yet"),
    ],
)
def test_a_function_that_fails_leaves_its_day_as_it_was_and_says_why(tmp_path, how, reason):
    before = ingest_example(tmp_path, [FIRST], log={"reader": f"{HERE}.read_frame"})[1]["inference_log"]
    reported, tables = ingest_example(tmp_path, [FIRST], log={"reader": f"{HERE}.read_badly", "options": {"how": how}})
    assert str(reported[0].unreadable).startswith(reason)
    assert tables["inference_log"] == before


def test_a_transient_error_of_a_function_reaches_the_caller_who_tries_again(tmp_path):
    with pytest.raises(ServiceDown):
        ingest_example(tmp_path, [FIRST], log={"reader": f"{HERE}.read_badly", "options": {"how": "later"}})


@pytest.mark.parametrize(
    ("path", "says"),
    [("test_nowhere", "has no 'test_nowhere'"), ("HERE", "holds a str")],
)
def test_a_function_that_cannot_be_had_is_named_with_the_remedy(tmp_path, path, says):
    with pytest.raises(SourceUnreadable, match="must name a function \\(day, options\\)") as failed:
        ingest_example(tmp_path, [FIRST], log={"reader": f"{HERE}.{path}"})
    assert says in str(failed.value)


def test_a_reader_whose_module_is_missing_is_named_when_the_monitor_is_loaded(tmp_path):
    with pytest.raises(ValueError, match=r"log[.]reader\n.*'nowhere_at_all[.]read'"):
        example_spec(tmp_path, log={"reader": "nowhere_at_all.read"})
    with pytest.raises(ValueError, match=r"looking for module .* failed: ModuleNotFoundError"):
        example_spec(tmp_path, log={"reader": f"{HERE}.nowhere.read"})


def read_labels(day, options):
    return pd.DataFrame({"id": example_rows(day)["id"], "late": 1})


def test_labels_may_come_from_a_function(tmp_path):
    write_day(tmp_path, FIRST)
    spec = example_spec(tmp_path, labels={"reader": f"{HERE}.read_labels"})
    with example_warehouse(tmp_path, spec) as connection:
        ingest_log(connection, spec, [FIRST])
        assert ingest_labels(connection, spec, spec.label, spec.labels, [FIRST])[0].accepted_rows == 20


def test_an_empty_result_is_a_day_without_rows_and_takes_away_what_the_day_had(tmp_path):
    log = {"reader": f"{HERE}.read_some", "options": {"rows": 3}}
    assert ingest_example(tmp_path, [FIRST], log=log)[0][0].accepted_rows == 3
    reported, tables = ingest_example(tmp_path, [FIRST], log=log | {"options": {"rows": 0}})
    assert (reported[0].delivered_rows, reported[0].unreadable, tables["inference_log"]) == (0, None, [])


def read_some(day, options):
    return example_rows(day, options["rows"])
