"""Where the `dagster.yaml` of homes made by earlier demos finds its event log; new ones name `demo/instance/event_storage.py`."""

from monitoring_assets.demo.instance.event_storage import PooledSqliteEventLogStorage

__all__ = ["PooledSqliteEventLogStorage"]
