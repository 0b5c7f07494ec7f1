"""The newest partitions of days that have ended are the last before the end."""

from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import PartitionLoadingContext
from dagster._core.definitions.temporal_context import TemporalContext
from dagster._core.types.pagination import PaginatedResults

from monitoring_assets.demo.instance import ended_partitions

CONTEXT = PartitionLoadingContext(
    temporal_context=TemporalContext(effective_dt=datetime(2026, 5, 1, 12, tzinfo=UTC), last_event_id=None),
    dynamic_partitions_store=None,
)
ENDED = dg.DailyPartitionsDefinition("2013-03-01", end_date="2014-01-01", timezone="America/New_York")
ALIVE = dg.DailyPartitionsDefinition("2013-03-01", timezone="America/New_York")


@pytest.fixture(autouse=True)
def _mended(monkeypatch: pytest.MonkeyPatch) -> None:
    # Put back afterwards what Dagster has.
    monkeypatch.setattr(dg.TimeWindowPartitionsDefinition, "get_paginated_partition_keys", ended_partitions._counted_from_today)
    ended_partitions.count_back_from_the_end()


def newest(partitions: dg.TimeWindowPartitionsDefinition, limit: int = 2, **asked: str | None) -> PaginatedResults[str]:
    return partitions.get_paginated_partition_keys(CONTEXT, limit, ascending=False, **asked)


def test_the_newest_days_of_an_ended_monitor_are_its_last() -> None:
    assert newest(ENDED).results == ["2013-12-31", "2013-12-30"]


def test_the_next_page_goes_on_before_the_first() -> None:
    assert newest(ENDED, cursor=newest(ENDED).cursor).results == ["2013-12-29", "2013-12-28"]


def test_a_living_monitor_is_counted_from_today() -> None:
    assert newest(ALIVE).results == ["2026-04-30", "2026-04-29"]


def test_the_oldest_days_are_as_before() -> None:
    assert ENDED.get_paginated_partition_keys(CONTEXT, 2, ascending=True).results == ["2013-03-01", "2013-03-02"]


def test_dagster_still_needs_the_mend() -> None:
    """When this fails, Dagster counts from the end itself: delete the module."""
    assert ended_partitions._counted_from_today(ENDED, CONTEXT, 1, False).results == ["2026-04-30"]
