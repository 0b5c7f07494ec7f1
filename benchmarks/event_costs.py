"""What one event costs on a Dagster storage: a materialisation of a partition, and a check's result for one.

`.venv/bin/python benchmarks/event_costs.py` measures Dagster's default SQLite storage; with `--postgres
postgresql+psycopg2://USER@HOST:PORT/DATABASE` also that database, for which `dagster-postgres` must be installed.
"""

import argparse
import os
import tempfile
import time
import warnings
from pathlib import Path

import dagster as dg
from dagster._core.instance.utils import RUNLESS_RUN_ID

from monitoring_assets.orchestration.event_batches import events_in_batches, stored_together

EVENTS = 300


def main() -> None:
    warnings.filterwarnings("ignore")
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--postgres", metavar="URL")
    postgres = arguments.parse_args().postgres
    storages = {"SQLite": ""} | ({"PostgreSQL": f"storage:\n  postgres:\n    postgres_url: {postgres}\n"} if postgres else {})
    for name, storage in storages.items():
        with tempfile.TemporaryDirectory() as home:
            (Path(home) / "dagster.yaml").write_text("telemetry:\n  enabled: false\n" + storage)
            os.environ["DAGSTER_HOME"] = home
            with dg.DagsterInstance.get() as instance:
                measure(name, instance)


def measure(storage: str, instance: dg.DagsterInstance) -> None:
    key = dg.AssetKey("measured")
    # A name of its own for each time the script runs: a result is stored once a check and partition.
    check = f"check_{time.time_ns()}"
    materialisations = [dg.AssetMaterialization(key, partition=str(i), metadata={"rows": i}) for i in range(EVENTS)]
    results, batched = (
        [dg.AssetCheckEvaluation(key, name, True, {"rows": i}, partition=str(i)) for i in range(EVENTS)]
        for name in (check, f"{check}_together")
    )
    for what, events, together in (
        ("a materialisation", materialisations, False),
        ("a materialisation, in a batch", materialisations, True),
        ("a check's result", results, False),
        ("a check's result, in a batch", batched, True),
    ):
        wall, processor = time.perf_counter(), time.process_time()
        if together:
            with events_in_batches(instance, RUNLESS_RUN_ID), stored_together(instance, RUNLESS_RUN_ID):
                _report(instance, events)
        else:
            _report(instance, events)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        print(f"{storage:10} {what:34} {wall / EVENTS * 1e3:5.1f} ms, {processor / EVENTS * 1e3:.1f} ms of processor time")


def _report(instance: dg.DagsterInstance, events: list[dg.AssetMaterialization] | list[dg.AssetCheckEvaluation]) -> None:
    for event in events:
        instance.report_runless_asset_event(event)


if __name__ == "__main__":
    main()
