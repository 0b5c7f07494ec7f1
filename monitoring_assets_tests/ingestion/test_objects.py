"""Laws of sources in an object store: their rows, faults and accounts are those of files, and what the store refuses is named.

The store is a server that speaks S3's protocol.
"""

import json
import os
from pathlib import Path

import pytest

from monitoring_assets import object_storage
from monitoring_assets.errors import ObjectGone, PermanentError, SourceChanged, StorageRefused, StorageUnavailable, TransientError
from monitoring_assets.ingestion import present_files
from monitoring_assets.ingestion.present_files import find_files
from monitoring_assets_tests.example_monitor import (
    FIRST,
    SECOND,
    THIRD,
    contents,
    example_rows,
    example_spec,
    example_warehouse,
    reference_baseline,
    write_day,
    write_file,
    write_labels,
    write_reference,
)
from monitoring_assets_tests.ingested_days import DAYS, as_jsonl, ingest, ingest_labels, ingest_log
from monitoring_assets_tests.ingestion.test_bad_files import BAD_FILES
from monitoring_assets_tests.s3_server import BUCKET, SECRET, ObjectStore

pytestmark = pytest.mark.slow  # A server with S3's API answers.

TABLES = ("inference_log", "quarantine", "deliveries")


@pytest.fixture
def prefix(object_store: ObjectStore, tmp_path: Path) -> str:
    """A part of the bucket for one test."""
    object_store.requests.clear()
    return f"{tmp_path.name}/"


def as_local(tables: dict[str, list[tuple[object, ...]]], address: str, home: Path) -> str:
    """The tables as text, with the paths that files on this machine would have."""
    return repr(tables).replace(address, f"{home}/")


def write_days_with_faults(home: Path, path: str) -> None:
    """Three days with rows that break the contract, and in text files lines that are no rows."""
    for day in DAYS:
        frame = example_rows(day).assign(id=lambda f: f["id"].mask(f.index == 3)).astype({"items": "float64"})
        frame.loc[5, "id"] = frame.loc[4, "id"]
        file = home / path.replace("{day}", str(day)).replace("*", str(day))
        file.parent.mkdir(parents=True, exist_ok=True)
        if ".jsonl" in path:
            file.write_text(as_jsonl(frame) + '{"id": broken\n')
        else:
            write_file(file, frame)
        if path.endswith(".csv"):
            with file.open("ab") as appended:
                appended.write(b"too,few,values\nnot \xff UTF-8,,,,,,,\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["log/{day}.parquet", "log/day={day}/*.csv", "log/*.csv.gz", "log/{day}.jsonl", "log/**/*.parquet"]
)
def test_rows_faults_and_accounts_of_objects_are_those_of_files(tmp_path, object_store, prefix, path):
    here, there, address = tmp_path / "here", tmp_path / "there", f"s3://{BUCKET}/{prefix}"
    write_days_with_faults(here, path)
    object_store.upload(here, prefix)
    expected = ingest(here, example_spec(here, log={"path": path}), DAYS)
    found = ingest(there, example_spec(there, log={"path": address + path}), DAYS)
    assert as_local(found[1], address, here) == repr(expected[1])
    assert [(d.delivered_rows, d.reasons) for d in found[0]] == [(d.delivered_rows, d.reasons) for d in expected[0]]
    assert all(d.quarantined_rows >= 2 for d in found[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in BAD_FILES if kind != "a folder"])
def test_a_bad_object_is_refused_for_the_reason_a_bad_file_has(tmp_path, object_store, prefix, kind):
    here, there, address = tmp_path / "here", tmp_path / "there", f"s3://{BUCKET}/{prefix}"
    for day in DAYS:
        write_day(here, day)
    BAD_FILES[kind][0](here / f"log/{SECOND}.parquet")
    object_store.upload(here, prefix)
    expected = ingest(here, example_spec(here), DAYS)
    found = ingest(there, example_spec(there, log={"path": address + "log/{day}.parquet"}), DAYS)
    assert as_local(found[1], address, here) == repr(expected[1])
    assert str(found[0][1].unreadable).replace(address, f"{here}/") == expected[0][1].unreadable
    assert found[0][1].is_absent == (kind == "absent")


def test_labels_and_the_reference_are_read_from_objects(tmp_path, object_store, prefix):
    address = f"s3://{BUCKET}/{prefix}"
    for day in DAYS:
        write_day(tmp_path, day)
        write_labels(tmp_path, day, path="labels/{day}.csv")
    write_reference(tmp_path)
    object_store.upload(tmp_path, prefix)

    def tables(home: Path, start: str) -> dict[str, list[tuple[object, ...]]]:
        sources = {"log": "log/{day}.parquet", "labels": "labels/{day}.csv", "reference": "reference.parquet"}
        spec = example_spec(home, **{name: {"path": start + path} for name, path in sources.items()})
        with example_warehouse(home, spec) as connection:
            ingest_log(connection, spec, DAYS)
            ingest_labels(connection, spec, spec.label, spec.labels, DAYS)
            reference_baseline(connection, spec)
            return contents(connection, spec, "labels", "baseline_profiles", "quarantine")

    assert tables(tmp_path / "there", address) == tables(tmp_path / "here", f"{tmp_path}/")


def addresses_of(day, options):
    """A reader of a user's."""
    return f"{options['start']}{day}.csv"


def test_a_function_may_name_objects(tmp_path, object_store, prefix):
    for day in DAYS[:2]:
        object_store.put(f"{prefix}{day}.csv", example_rows(day).to_csv(index=False).encode())
    reader = f"{__name__}.addresses_of"
    spec = example_spec(tmp_path, log={"reader": reader, "options": {"start": f"s3://{BUCKET}/{prefix}"}})
    reported, _ = ingest(tmp_path, spec, DAYS)
    assert [(d.accepted_rows, d.is_absent) for d in reported] == [(20, False), (20, False), (0, True)]


def test_a_backfill_lists_once_and_fetches_each_object_once(tmp_path, object_store, prefix):
    for day in DAYS:
        object_store.put(f"{prefix}log/{day}.jsonl", as_jsonl(example_rows(day)).encode() + b"{broken\n")
    object_store.requests.clear()
    spec = example_spec(tmp_path, log={"path": f"s3://{BUCKET}/{prefix}log/{{day}}.jsonl"})
    with example_warehouse(tmp_path, spec) as connection:
        ingest_log(connection, spec, DAYS)
    listings = [line for line in object_store.requests if "list-type" in line]
    fetched = [line for line in object_store.requests if line.startswith("GET") and line not in listings]
    assert len(listings) <= 2, "what there is before the reading, and what is read"
    assert sorted(fetched) == [f"GET /{BUCKET}/{prefix}log/{day}.jsonl" for day in DAYS]


def test_a_half_written_multipart_upload_is_no_file(tmp_path, object_store, prefix):
    spec = example_spec(tmp_path, log={"path": f"s3://{BUCKET}/{prefix}log/{{day}}.csv"})
    key, client = f"{prefix}log/{FIRST}.csv", object_store.client()
    begun = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    client.upload_part(Bucket=BUCKET, Key=key, UploadId=begun, PartNumber=1, Body=b"id,at\n1,")
    with example_warehouse(tmp_path, spec) as connection:
        (reported,) = ingest_log(connection, spec, [FIRST])
    assert reported.is_absent
    assert reported.unreadable == f"no file at s3://{BUCKET}/{key}"


def test_an_object_that_goes_between_listing_and_reading_fails_the_run_and_stores_nothing(
    tmp_path, object_store, prefix, monkeypatch
):
    spec = example_spec(tmp_path, log={"path": f"s3://{BUCKET}/{prefix}log/{{day}}.csv"})
    for day in DAYS:
        object_store.put(f"{prefix}log/{day}.csv", example_rows(day).to_csv(index=False).encode())
    before = ingest(tmp_path, spec, DAYS)[1]
    listings = []

    def listed_then_gone(*arguments: object, **options: object) -> object:
        listings.append(object_storage.objects_under(*arguments, **options))
        if len(listings) == 2:  # the one of what is about to be read
            object_store.delete(f"{prefix}log/{SECOND}.csv")
        return listings[-1]

    with example_warehouse(tmp_path, spec) as connection:
        monkeypatch.setattr(present_files, "objects_under", listed_then_gone)
        with pytest.raises(ObjectGone, match=f"{SECOND}.csv was there when the store was listed, and is gone") as gone:
            ingest_log(connection, spec, DAYS)
        assert isinstance(gone.value, TransientError)
        assert contents(connection, spec, *TABLES) == before
        monkeypatch.undo()
        assert [d.is_absent for d in ingest_log(connection, spec, DAYS)] == [False, True, False]
        assert contents(connection, spec, "inference_log")["inference_log"] == before["inference_log"]


def test_an_object_that_is_replaced_while_it_is_fetched_is_no_mixture_of_both(tmp_path, object_store, prefix, monkeypatch):
    monkeypatch.setattr(object_storage, "BLOCK_BYTES", 100)
    key, kept = f"{prefix}log.csv", tmp_path / "log.csv"

    class Interfering:
        def open(self, mode: str) -> object:
            object_store.put(key, b"b" * 1_001)
            return kept.open(mode)

    object_store.put(key, b"a" * 1_000)
    object_storage.fetch(f"s3://{BUCKET}/{key}", kept)
    assert kept.read_bytes() == b"a" * 1_000
    with pytest.raises(SourceChanged, match=r"log\.csv was replaced while it was read"):
        object_storage.fetch(f"s3://{BUCKET}/{key}", Interfering())


def test_a_store_that_is_down_is_transient_and_a_bucket_that_is_not_there_permanent(tmp_path, object_store, monkeypatch):
    nowhere = example_spec(tmp_path, log={"path": "s3://no-such-bucket/log/{day}.csv"})
    with example_warehouse(tmp_path, nowhere) as connection:
        with pytest.raises(StorageRefused, match=r"s3://no-such-bucket/log/ cannot be used: .*NO_SUCH_BUCKET") as refused:
            ingest_log(connection, nowhere, [FIRST])
        assert isinstance(refused.value, PermanentError)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(StorageUnavailable, match=r"cannot be reached: .*NETWORK_CONNECTION") as down:
            ingest_log(connection, nowhere, [FIRST])
        assert isinstance(down.value, TransientError)


def test_a_user_who_may_not_list_is_told_so_and_one_who_may_not_read_an_object_loses_that_day_alone(
    tmp_path, object_store, prefix, monkeypatch
):
    path = f"s3://{BUCKET}/{prefix}log/{{day}}.csv"
    for day in DAYS:
        object_store.put(f"{prefix}log/{day}.csv", example_rows(day).to_csv(index=False).encode())
    iam = object_store.client("iam")
    keys = {}
    for user, actions in {"nobody": "s3:GetObject", "lister": "s3:ListBucket"}.items():
        iam.create_user(UserName=user)
        statement = [{"Effect": "Allow", "Action": actions, "Resource": "*"}]
        if user == "lister":
            statement.append({"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*{FIRST}.csv"})
        policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
        iam.put_user_policy(UserName=user, PolicyName="some", PolicyDocument=policy)
        keys[user] = iam.create_access_key(UserName=user)["AccessKey"]
    spec = example_spec(tmp_path, log={"path": path})
    object_store.enforce_rights(True)
    try:
        with example_warehouse(tmp_path, spec) as connection:
            _be(monkeypatch, keys["nobody"])
            with pytest.raises(StorageRefused, match=r"AccessDenied|ACCESS_DENIED") as refused:
                ingest_log(connection, spec, DAYS)
            assert keys["nobody"]["SecretAccessKey"] not in str(refused.value)
            assert "Correct the address, or the credentials in the environment" in str(refused.value)
            _be(monkeypatch, keys["lister"])
            reported = ingest_log(connection, spec, DAYS)
            assert [d.accepted_rows for d in reported] == [20, 0, 0]
            assert all("ACCESS_DENIED" in str(d.unreadable) for d in reported[1:])
    finally:
        object_store.enforce_rights(False)


def _be(monkeypatch: pytest.MonkeyPatch, key: dict[str, str]) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])


def test_no_credential_is_in_the_warehouse_or_in_a_message(tmp_path, object_store, prefix, monkeypatch):
    spec = example_spec(tmp_path, log={"path": f"s3://{BUCKET}/{prefix}log/{{day}}.csv"})
    object_store.put(f"{prefix}log/{FIRST}.csv", b"not,the,columns\n")
    _, tables = ingest(tmp_path, spec, [FIRST])
    assert SECRET not in repr(tables)
    assert os.environ["AWS_ACCESS_KEY_ID"] not in repr(tables)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-to-hide")
    hidden = object_storage._without_secrets(f"denied for {SECRET} with token-to-hide")
    assert hidden == "denied for *** with ***"


def test_a_listing_names_what_a_pattern_names_and_its_days(object_store, tmp_path, prefix):
    keys = [f"log/day={FIRST}/a.csv", f"log/day={FIRST}/.hidden.csv", f"log/day={SECOND}/b/c.csv", "log/day=2026-99-99/a.csv"]
    for key in [*keys, f"log/day={THIRD}/x=1/d.csv", f"other/day={FIRST}/a.csv"]:
        object_store.put(prefix + key, b"x")
    start = f"s3://{BUCKET}/{prefix}log/"

    def found(path: str) -> list[tuple[str, object]]:
        spec = example_spec(tmp_path, log={"path": start + path})
        return sorted((file.path.removeprefix(start), file.day) for file in find_files(spec, spec.log))

    assert found("day={day}/*.csv") == [(f"day={FIRST}/a.csv", FIRST)]
    assert found("day={day}/**/*.csv") == [
        (f"day={FIRST}/a.csv", FIRST),
        (f"day={SECOND}/b/c.csv", SECOND),
        (f"day={THIRD}/x=1/d.csv", THIRD),
    ]
    assert [name for name, day in found("**/[ad].csv") if day is None] == [
        "day=2026-03-02/a.csv",
        "day=2026-03-04/x=1/d.csv",
        "day=2026-99-99/a.csv",
    ]


def test_google_and_azure_are_reached_as_their_environment_says(monkeypatch):
    from pyarrow.fs import AzureFileSystem, GcsFileSystem

    monkeypatch.setenv("AZURE_STORAGE_KEY", "c2VjcmV0")
    assert isinstance(object_storage._located("gs://bucket/a.csv")[0], GcsFileSystem)
    files, key, bucket = object_storage._located("abfs://container@account.dfs.core.windows.net/log/a.csv")
    assert files.equals(AzureFileSystem("account", account_key="c2VjcmV0"))
    assert (key, bucket) == ("container/log/a.csv", "abfs://container@account.dfs.core.windows.net/")
    with pytest.raises(StorageRefused, match="the storage account is not known"):
        object_storage._located("abfs://container/log/a.csv")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "account")
    assert object_storage._located("abfs://container/log/a.csv")[0].equals(files)
