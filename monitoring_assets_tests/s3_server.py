"""An object store of the tests' own: moto's server, which speaks S3's real protocol, on a free port of loopback."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
from moto.server import ThreadedMotoServer
from werkzeug.serving import WSGIRequestHandler

from monitoring_assets.object_storage import ENVIRONMENT

BUCKET = "monitored"
SECRET = "sesame-seven-secret"


@dataclass(frozen=True)
class ObjectStore:
    """A server with one bucket. `requests` grows by a line with every request: method and path."""

    endpoint: str
    requests: list[str]

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "sesame-seven-key",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str = "s3") -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="sesame-seven-key",
            aws_secret_access_key=SECRET,
        )

    def upload(self, folder: Path, prefix: str) -> None:
        """The files of a folder as objects below a prefix that ends in a slash."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(prefix + file.relative_to(folder).as_posix(), file.read_bytes())

    def put(self, key: str, content: bytes) -> None:
        self.client().put_object(Bucket=BUCKET, Key=key, Body=content)

    def delete(self, key: str) -> None:
        self.client().delete_object(Bucket=BUCKET, Key=key)

    def enforce_rights(self, enforced: bool) -> None:
        """Whether users need the rights that IAM gives them."""
        body = b"0" if enforced else b"inf"
        plain = {"Content-Type": "text/plain"}
        urlopen(Request(f"{self.endpoint}/moto-api/reset-auth", body, plain, method="POST"), timeout=10).close()

    def keys(self, prefix: str = "") -> list[str]:
        found = self.client().list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return [each["Key"] for each in found if not each["Key"].endswith("/")]


@contextmanager
def running() -> Iterator[ObjectStore]:
    """A fresh server."""
    requests: list[str] = []

    class Noting(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            requests.append(f"{self.command} {self.path}")

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    original = WSGIRequestHandler.log_request
    WSGIRequestHandler.log_request = Noting.log_request  # type: ignore[method-assign]
    server.start()
    try:
        host, port = server.get_host_and_port()
        store = ObjectStore(f"http://{host}:{port}", requests)
        store.client().create_bucket(Bucket=BUCKET)
        requests.clear()
        yield store
    finally:
        server.stop()
        WSGIRequestHandler.log_request = original  # type: ignore[method-assign]


def without_a_store(environment: Mapping[str, str]) -> list[str]:
    """The variables of an environment that would lead to somebody's real store."""
    return [name for name in environment if ENVIRONMENT.match(name)]
