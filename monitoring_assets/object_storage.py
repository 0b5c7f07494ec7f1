"""Object stores (`s3://`, `gs://`, `abfs://`) through pyarrow's file systems: listing, fetching, storing and deleting objects.

What the objects mean is not known here. Addresses hold no secrets: credentials and endpoints come from the environment, as
pyarrow and each store's own tools know them.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from monitoring_assets.errors import ObjectGone, SourceChanged, StorageRefused, StorageUnavailable

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss")
# Bytes that are on their way at once, of each object, and how many objects at once.
BLOCK_BYTES, AT_ONCE = 16 << 20, 4
# Seconds until a connection counts as refused, and an answer as missing. Google's client would else try for 15 minutes.
CONNECT_SECONDS, ANSWER_SECONDS = 5, 30
# On what pyarrow was built with: these variables choose the store and who asks.
ENVIRONMENT = re.compile(r"AWS_|AZURE_|GOOGLE_|CLOUDSDK_|CLOUD_STORAGE_")
# The codes of refusals that will not go away by themselves, as AWS, Azure and Google name them.
REFUSALS = re.compile(
    r"ACCESS_DENIED|Access ?Denied|INVALID_ACCESS_KEY_ID|InvalidAccessKeyId|SIGNATURE_DOES_NOT_MATCH|SignatureDoesNotMatch|"
    r"INVALID_CLIENT_TOKEN_ID|EXPIRED_TOKEN|ExpiredToken|InvalidToken|UNRECOGNIZED_CLIENT|NO_SUCH_BUCKET|NoSuchBucket|"
    r"Bucket '[^']*' not found|"
    r"HTTP status 301|PermanentRedirect|ContainerNotFound|AuthorizationFailure|AuthorizationPermissionMismatch|"
    r"AuthenticationFailed|PERMISSION_DENIED|UNAUTHENTICATED|HTTP response code 40[13]|HTTP status 40[13]"
)


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing shows it. pyarrow's listings have no ETag."""

    path: str
    size_bytes: int
    modified_ns: int


def is_object(path: str) -> bool:
    """Whether a path is the address of an object store.

    >>> is_object("s3://bucket/log.parquet"), is_object("https://host/log.parquet"), is_object("/data/log.parquet")
    (True, False, False)
    """
    return path.partition("://")[0] in SCHEMES and "://" in path


def objects_under(prefix: str, recursive: bool = True) -> list[StoredObject]:
    """The objects below a prefix that ends in a slash, by one listing. None where there is no object.

    Raises
    ------
    StorageRefused, StorageUnavailable
    """
    from pyarrow.fs import FileSelector, FileType

    files, root, bucket = _located(prefix)
    with _errors_about(prefix):
        try:
            found = files.get_file_info(FileSelector(root.rstrip("/"), recursive=recursive))
        except FileNotFoundError:
            return []
    return [
        StoredObject(bucket + info.path.partition("/")[2], info.size, info.mtime_ns)
        for info in found
        if info.type == FileType.File
    ]


def fetch(path: str, to: Path) -> None:
    """Copy an object to a file of this machine, block by block, each of which is a request.

    Raises
    ------
    ObjectGone
        When there is no such object, any more.
    SourceChanged
        When another took its place meanwhile, so that the copy may hold parts of both.
    StorageRefused, StorageUnavailable
    """
    files, key, _ = _located(path)
    try:
        with _errors_about(path), files.open_input_file(key) as given, to.open("wb") as kept:
            size = given.size()
            before = None if size <= BLOCK_BYTES else _version(files, key)
            while block := given.read(BLOCK_BYTES):
                kept.write(block)
            after = None if before is None else _version(files, key)
    except FileNotFoundError:
        raise ObjectGone(f"{path} was there when the store was listed, and is gone. Nothing was stored; run it again.") from None
    if before != after or (before is not None and before[0] != size):
        raise SourceChanged(f"{path} was replaced while it was read. Nothing was stored; run it again.")


def _version(files: "FileSystem", key: str) -> tuple[int | None, int | None]:
    info = files.get_file_info(key)
    return info.size, info.mtime_ns


def put(file: Path, path: str) -> None:
    """Store a file of this machine as an object. It appears whole or not at all: with the last block, if there are several.

    Raises
    ------
    StorageRefused, StorageUnavailable
    """
    files, key, _ = _located(path)
    with _errors_about(path), file.open("rb") as given, files.open_output_stream(key, compression=None, buffer_size=0) as kept:
        while block := given.read(BLOCK_BYTES):
            kept.write(block)


def delete(path: str) -> None:
    """Delete an object; one that is gone already is none to delete."""
    files, key, _ = _located(path)
    with _errors_about(path):
        try:
            files.delete_file(key)
        except FileNotFoundError:
            return


def for_each(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """What `work` gives for each item, some at a time; the first error ends it."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(work, items))


def _located(path: str) -> tuple["FileSystem", str, str]:
    """The file system of an address, the path in it, and the address of its bucket."""
    scheme, _, rest = path.partition("://")
    authority, _, key = rest.partition("/")
    bucket, _, account = authority.partition("@")  # abfs://container@account.dfs.core.windows.net/key
    environment = tuple(sorted((name, value) for name, value in os.environ.items() if ENVIRONMENT.match(name)))
    return _file_system(scheme, bucket, account, environment), f"{bucket}/{key}", f"{scheme}://{authority}/"


@lru_cache(maxsize=64)
def _file_system(scheme: str, bucket: str, account: str, environment: tuple[tuple[str, str], ...]) -> "FileSystem":
    """The file system of a bucket. It is made anew when the environment says something else."""
    from pyarrow import fs

    given = dict(environment)
    try:
        if scheme == "s3":
            return _s3(bucket, given)
        if scheme in {"gs", "gcs"}:
            return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=ANSWER_SECONDS))
        return _azure(account, given)
    except (OSError, ValueError) as error:
        raise _explained(f"{scheme}://{bucket}", error) from None


def _s3(bucket: str, given: dict[str, str]) -> "FileSystem":
    """pyarrow 25 takes credentials and region from the environment, but not the endpoint, and asks AWS for a bucket's region."""
    from pyarrow import fs

    options: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "request_timeout": ANSWER_SECONDS,
        "allow_delayed_open": True,  # a small object is one request, not three
        "tls_ca_file_path": given.get("AWS_CA_BUNDLE"),
    }
    endpoint = given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL")
    region = given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION")
    if endpoint:
        address = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        place = address.netloc.rpartition("@")[2]
        return fs.S3FileSystem(scheme=address.scheme, endpoint_override=place, region=region or "us-east-1", **options)
    return fs.S3FileSystem(region=region or fs.resolve_s3_region(bucket), **options)


def _azure(account: str, given: dict[str, str]) -> "FileSystem":
    """An account's store. What the environment does not say is found as Azure's own tools find it."""
    from pyarrow import fs

    name = account.partition(".")[0] or given.get("AZURE_STORAGE_ACCOUNT", "")
    if not name:
        raise ValueError(
            "the storage account is not known: write abfs://container@account.dfs.core.windows.net/..., "
            "or set AZURE_STORAGE_ACCOUNT"
        )
    key, token = given.get("AZURE_STORAGE_KEY"), given.get("AZURE_STORAGE_SAS_TOKEN")
    return fs.AzureFileSystem(name, account_key=key, sas_token=None if key else token)


@contextmanager
def _errors_about(path: str) -> Iterator[None]:
    """What a store says, by name: whether trying again helps."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's own are both; those of this machine have a number
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _explained(path, error) from None


def _explained(path: str, error: Exception) -> StorageRefused | StorageUnavailable:
    said = _without_secrets(" ".join(str(error).split()))
    if isinstance(error, ValueError) or REFUSALS.search(said):
        return StorageRefused(
            f"{path} cannot be used: {said}. Correct the address, or the credentials in the environment and what they allow."
        )
    return StorageUnavailable(f"{path} cannot be reached: {said}. The run is retried; run it again if it was the last try.")


def _without_secrets(text: str) -> str:
    """A message without any credential of the environment, should a store repeat one."""
    for name, value in os.environ.items():
        if ENVIRONMENT.match(name) and re.search(r"KEY|SECRET|TOKEN|PASSWORD|URL", name) and len(value) > 3:
            text = text.replace(value, "***")
    return text
