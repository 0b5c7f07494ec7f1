"""Laws of `alert_on_severity`, with a real receiver on loopback: every severe finding is sent once, and stored."""

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

pytestmark = pytest.mark.long

pytest.importorskip("apprise", reason="alerts need the extra `alerts`")

ROWS = 200
QUIET, DRIFTED, NEXT = days_between(date(2026, 3, 10), date(2026, 3, 12))
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


def test_a_drifted_day_is_sent_once_even_when_the_cursor_is_lost(monitor, receiver) -> None:
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


def test_a_quiet_day_and_a_backfill_are_not_sent(monitor, receiver) -> None:
    score(monitor, QUIET)
    monitor.tick("alert_on_severity")
    score(monitor, DRIFTED, **{"dagster/backfill": "of-history"})
    monitor.tick("alert_on_severity")
    assert receiver.messages == []


@pytest.mark.parametrize("cursor_lost", [False, True])
def test_an_alert_whose_receiver_was_down_is_delivered_by_a_later_tick_with_no_new_day(monitor, receiver, cursor_lost) -> None:
    receiver.is_open = False
    score(monitor, DRIFTED)
    for _ in range(2):
        tick = monitor.tick("alert_on_severity")
        assert "not delivered, the receiver refused it or did not answer" in str(tick.skip_message)
        assert monitor.rows("SELECT delivered FROM example.alerts") == [(False,)]
    receiver.is_open = True
    monitor.tick("alert_on_severity", cursor_lost=cursor_lost)
    monitor.tick("alert_on_severity")
    (message,) = receiver.messages
    assert "2026-03-11 drift severe" in message
    assert monitor.rows("SELECT delivered, reason FROM example.alerts") == [(True, None)]


def test_an_alert_that_waited_goes_out_with_the_next_day_s(monitor, receiver) -> None:
    receiver.is_open = False
    score(monitor, DRIFTED)
    monitor.tick("alert_on_severity")
    receiver.is_open = True
    write_day(monitor.home, NEXT, ROWS, shift=3)
    score(monitor, NEXT)
    monitor.tick("alert_on_severity")
    (message,) = receiver.messages
    assert "2026-03-11 drift severe" in message
    assert "2026-03-12 drift severe" in message


def test_a_route_without_an_address_says_so(monitor, monkeypatch) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    score(monitor, DRIFTED)
    assert "EXAMPLE_ALERTS is not set" in str(monitor.tick("alert_on_severity").skip_message)
