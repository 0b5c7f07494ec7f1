"""A server of models that cannot be asked: each way has a name, says whether trying again helps, and keeps the address to
itself."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from monitoring_assets.errors import PermanentError, RegistryUnavailable, RegistryUnusable, TransientError
from monitoring_assets.retraining.registry import Registry

pytestmark = pytest.mark.slow


@contextmanager
def answering(status: int) -> Iterator[int]:
    """The port of a server whose every answer is this."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"monitor:sesame7 may not")

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@contextmanager
def nobody() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


@pytest.mark.parametrize(
    ("server", "kind"),
    [
        (nobody(), RegistryUnavailable),
        (answering(503), RegistryUnavailable),
        (answering(401), RegistryUnusable),
        (answering(403), RegistryUnusable),
    ],
    ids=["nobody", "out of order", "who are you", "not for you"],
)
def test_a_server_that_cannot_be_asked_has_a_name_and_its_address_is_in_no_message(server, kind, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with server as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://monitor:sesame7@127.0.0.1:{port}")
        with pytest.raises(kind, match="the MLflow server of MLFLOW_TRACKING_URI") as raised:
            Registry(tmp_path).champion("flights")
    assert isinstance(raised.value, TransientError if kind is RegistryUnavailable else PermanentError)
    assert not any(secret in str(raised.value) for secret in ("sesame7", "127.0.0.1", str(port)))
    assert not list(tmp_path.iterdir())
