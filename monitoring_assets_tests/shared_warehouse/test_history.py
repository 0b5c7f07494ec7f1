"""What a run asks of the database does not grow with the history that is stored there."""

from datetime import timedelta

import dagster as dg
import pytest

from monitoring_assets.monitor_spec import days_between
from monitoring_assets.shared_warehouse.server import VARIABLE, Session
from monitoring_assets_tests import dagster_monitor
from monitoring_assets_tests.example_monitor import FIRST, write_day, write_labels, write_reference

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each query, but for the small ones that each day's files leave in `deliveries` and `arrivals`."""
    found: list[int] = []
    arrow = Session.arrow

    def counting(self: Session, sql: str):
        rows = arrow(self, sql)
        found.append(0 if '"deliveries"' in sql or '"arrivals"' in sql else rows.num_rows)
        return rows

    monkeypatch.setattr(Session, "arrow", counting)
    return found


@pytest.mark.parametrize("retain_days", [None, 25])
def test_a_day_reads_as_much_after_two_weeks_as_after_five(databases, tmp_path, monkeypatch, read, retain_days) -> None:
    monkeypatch.setenv(VARIABLE, databases.address_of(tmp_path))
    days = days_between(FIRST, FIRST + timedelta(days=34))
    reference = {"path": "reference.parquet"}
    drift, retrain = {"windows_days": [1, 3]}, {"training_days": 10, "gate_days": 3, "drift_window_days": 1}
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = dagster_monitor.DagsterMonitor(
            tmp_path, instance, reference=reference, drift=drift, retrain=retrain, retain_days=retain_days
        )
        write_reference(tmp_path)
        monitor.materialise("reference_baseline")
        for day in days:
            write_day(tmp_path, day)
            write_labels(tmp_path, day)
        rows = {}
        for first, last in ((days[0], days[13]), (days[14], days[-1])):
            for assets in ("daily", "labels"):
                dagster_monitor.succeeded(monitor.run_days(assets, first, last))
            for assets in ("daily", "labels"):
                read.clear()
                dagster_monitor.succeeded(monitor.run_days(assets, last))
                rows[assets, last] = sum(read)
    for assets in ("daily", "labels"):
        assert rows[assets, days[-1]] <= 1.02 * rows[assets, days[13]]
