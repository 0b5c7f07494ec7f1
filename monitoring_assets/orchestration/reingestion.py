"""Reading days again as Dagster runs, once their source is corrected: the UI shows them, and what depends on them follows."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from monitoring_assets.ingestion.quarantine import Chosen, accounts, changes, days_concerned, ranges
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.orchestration.daily_assets import DAILY_ASSETS, LABEL_ASSETS
from monitoring_assets.orchestration.instance import users_instance
from monitoring_assets.orchestration.monitor_driver import MonitorDriver
from monitoring_assets.orchestration.resources import MONITORING_HOME


def reingest(spec: MonitorSpec, definitions: dg.Definitions, chosen: Chosen) -> Iterator[str]:
    """Materialise the chosen days of the quarantine and all that depends on them, and report the outcome.

    The log of a day is read with the daily assets; its labels after it, because a label needs its prediction.
    """
    with MONITORING_HOME.connect(spec) as connection:
        days = days_concerned(connection, spec, chosen)
        before = accounts(connection, spec, days)
    if not days:
        yield "nothing is in quarantine that could be read again"
        return
    of_labels = sorted({day for of_asset in days.values() for day in of_asset}) if spec.labels is not None else []
    with users_instance(MONITORING_HOME.folder) as instance:
        driver = MonitorDriver(definitions, spec, instance)
        for assets, of_assets in ((DAILY_ASSETS, days.get("inference_log", [])), (LABEL_ASSETS, of_labels)):
            for first, last in ranges(of_assets):
                failures: list[str] = []
                with _collected(failures):
                    driver.run_days(assets, str(first), str(last))
                yield from (f"{first} to {last}, {spec.name}/{assets[0]}: {failure}" for failure in failures)
    with MONITORING_HOME.connect(spec) as connection:
        yield from changes(before, accounts(connection, spec, days))


@contextmanager
def _collected(failures: list[str]) -> Iterator[None]:
    """The failure of a run, so that the next one goes on; its events are in the instance."""
    try:
        yield
    except dg.Failure as error:
        failures.append(str(error.description))
    except Exception as error:  # a step may raise anything
        failures.append(f"{type(error).__name__}: {error}")
