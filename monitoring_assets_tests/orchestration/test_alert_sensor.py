"""Laws of `alert_on_severity`, with a real receiver on loopback: every grave finding is told once, and kept."""

import json
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import dagster as dg
import pytest

from monitoring_assets.monitor_spec import days_between
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import write_day, write_reference

pytest.importorskip("apprise", reason="alerts need the extra `alerts`")

ROWS = 200
QUIET, DRIFTED = date(2026, 3, 10), date(2026, 3, 11)
ADDRESS = "EXAMPLE_ALERTS"


class Receiver:
    """A web hook that keeps what it is sent, or refuses it."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.is_open = True
        receiver = self

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if receiver.is_open:
                    receiver.messages.append(f"{body['title']}\n{body['message']}")
                self.send_response(200 if receiver.is_open else 503)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """No line per request."""

        self.server = HTTPServer(("127.0.0.1", 0), Hook)
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    receiver = Receiver()
    monkeypatch.setenv(ADDRESS, f"json://127.0.0.1:{receiver.server.server_port}")
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture
def monitor(tmp_path) -> Iterator[DagsterMonitor]:
    write_reference(tmp_path, days_between(date(2026, 2, 20), date(2026, 2, 25)), ROWS)
    write_day(tmp_path, QUIET, ROWS)
    write_day(tmp_path, DRIFTED, ROWS, shift=3)
    settings = {
        "reference": {"path": "reference.parquet"},
        "drift": {"windows_days": [1]},
        "alerts": [{"url_env": ADDRESS}],
    }
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, **settings)
        succeeded(monitor.materialise("reference_baseline"))
        yield monitor


def score(monitor: DagsterMonitor, day: date, **tags: str) -> None:
    ends = {"dagster/asset_partition_range_start": str(day), "dagster/asset_partition_range_end": str(day)}
    succeeded(monitor.materialise("inference_log", "daily_profile", "drift_scores", tags=ends | tags))


def test_a_drifted_day_is_told_once_even_when_the_cursor_is_lost(monitor, receiver) -> None:
    score(monitor, DRIFTED)
    for lost in (False, False, True):
        monitor.tick("alert_on_severity", cursor_lost=lost)
    (message,) = receiver.messages
    assert message.startswith("example: severe")
    assert "2026-03-11 drift severe" in message
    assert "amount" in message
    assert monitor.rows("SELECT day, subject, severity, route, delivered FROM example.alerts") == [
        (DRIFTED, "drift", "severe", ADDRESS, True)
    ]


def test_a_quiet_day_and_a_backfill_are_not_told(monitor, receiver) -> None:
    score(monitor, QUIET)
    monitor.tick("alert_on_severity")
    score(monitor, DRIFTED, **{"dagster/backfill": "of-history"})
    monitor.tick("alert_on_severity")
    assert receiver.messages == []


def test_an_alert_that_was_not_taken_is_kept_with_the_reason_and_told_later(monitor, receiver) -> None:
    receiver.is_open = False
    score(monitor, DRIFTED)
    monitor.tick("alert_on_severity")
    assert monitor.rows("SELECT delivered, reason FROM example.alerts") == [(False, "the receiver did not take it")]
    receiver.is_open = True
    score(monitor, DRIFTED)
    monitor.tick("alert_on_severity")
    assert len(receiver.messages) == 1


def test_a_route_without_an_address_says_so(monitor, monkeypatch) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    score(monitor, DRIFTED)
    assert "EXAMPLE_ALERTS is not set" in str(monitor.tick("alert_on_severity").skip_message)
