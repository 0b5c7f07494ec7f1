"""The examples of docs/sources.md are read as they stand, and each gives what one Parquet file a day gives."""

import gzip
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from monitoring_assets.components.model_monitor import build_monitor
from monitoring_assets_tests import postgres_server
from monitoring_assets_tests.example_monitor import (
    FIRST,
    SECOND,
    contents,
    example_rows,
    example_spec,
    example_warehouse,
    write_day,
    write_file,
)
from monitoring_assets_tests.ingested_days import ingest_log

DOCS = (Path(__file__).parents[1] / "docs/sources.md").read_text()
EXAMPLES = [yaml.safe_load(block)["log"] for block in re.findall(r"```yaml\n(.*?)```", DOCS, re.S)]
FILES = [log for log in EXAMPLES if not log.get("path", "://").startswith("s3:") and "path" in log]
(SQL,) = [log for log in EXAMPLES if "sql" in log]
(READER,) = [log for log in EXAMPLES if "reader" in log]
(ADDRESS,) = [log for log in EXAMPLES if log.get("path", "").startswith("s3:")]
DAYS = [FIRST, SECOND]


def stored(home, log):
    spec = example_spec(home, log=log)
    with example_warehouse(home, spec) as connection:
        reported = ingest_log(connection, spec, DAYS)
        assert [(d.accepted_rows, d.quarantined_rows, d.unreadable) for d in reported] == [(20, 0, None)] * 2
        return contents(connection, spec, "inference_log")["inference_log"]


@pytest.fixture(scope="module")
def expected(tmp_path_factory, store):
    home = tmp_path_factory.mktemp("expected")
    for day in DAYS:
        write_day(home, day)
    return stored(home, {"path": "log/{day}.parquet"})


def write_as(path: Path, frame: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        write_file(path, frame)
    elif ".csv" in path.name:
        path.write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    else:
        frame.assign(at=frame["at"].astype("string")).to_json(path, orient="records", lines=True)


@pytest.mark.slow
@pytest.mark.parametrize("log", FILES, ids=lambda log: log["path"])
def test_an_example_of_files_reads_what_lies_there(tmp_path, expected, log):
    for day in DAYS:
        for country, rows in example_rows(day).groupby("country"):
            name = log["path"].replace("{day}", str(day)).replace("**/*", f"{day}/a").replace("country=*", f"country={country}")
            if "country=" in name:
                write_as(tmp_path / name.replace("*", "part"), rows.drop(columns="country"))
        if "country=" not in log["path"]:
            write_as(tmp_path / name.replace("*", "part"), example_rows(day))
    assert stored(tmp_path, log) == expected
    if "asset" in log:
        keys = build_monitor(example_spec(tmp_path, log=log)).resolve_asset_graph().get_all_asset_keys()
        assert log["asset"] in {key.to_user_string() for key in keys}


def test_the_example_of_an_object_store_reads_the_objects(tmp_path, expected, object_store):
    bucket, _, key = ADDRESS["path"].removeprefix("s3://").partition("/")
    object_store.client().create_bucket(Bucket=bucket)
    for day in DAYS:
        write_file(tmp_path / "object.parquet", example_rows(day))
        content = (tmp_path / "object.parquet").read_bytes()
        object_store.client().put_object(Bucket=bucket, Key=key.format(day=day), Body=content)
    assert stored(tmp_path, ADDRESS) == expected


def test_the_example_of_a_function_reads_the_dump(tmp_path, expected, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", DOCS, re.S)
    module = tmp_path / code.splitlines()[0].removeprefix("# ")
    module.parent.mkdir()
    (module.parent / "__init__.py").touch()
    module.write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for day in DAYS:
        rows = example_rows(day)
        for hour in range(24):
            write_as(tmp_path / f"dumps/{day}T{hour:02}.json", rows[rows["at"].dt.hour == hour])
    assert stored(tmp_path, READER | {"options": {"folder": str(tmp_path / "dumps")}}) == expected
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


@pytest.mark.skipif(postgres_server.missing() is not None, reason=str(postgres_server.missing()))
def test_the_example_of_a_query_reads_the_table(tmp_path, expected, monkeypatch):
    import pyarrow as pa
    from adbc_driver_postgresql import dbapi

    frame = pd.concat([example_rows(day) for day in DAYS])
    with postgres_server.running() as address:
        with dbapi.connect(address) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest("predictions", pa.Table.from_pandas(frame, preserve_index=False))
            connection.commit()
        monkeypatch.setenv(SQL["uri_env"], address)
        assert stored(tmp_path, SQL) == expected
