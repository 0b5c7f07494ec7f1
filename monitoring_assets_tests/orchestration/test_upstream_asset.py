"""Laws of an asset of the user's as source: it is upstream in the lineage, and one run makes it and takes it in."""

from datetime import timedelta

import dagster as dg
import pytest

from monitoring_assets.components.model_monitor import build_monitor
from monitoring_assets.orchestration.resources import MonitoringHome
from monitoring_assets_tests.example_monitor import (
    FIRST,
    THIRD,
    contents,
    example_rows,
    example_spec,
    example_warehouse,
    write_day,
)

pytestmark = pytest.mark.slow

ASSET = "team/predictions"
LOG = {"asset": ASSET, "path": "made/{day}.parquet"}


def definitions(home, partitions, **overrides):
    """A project in which the asset `team/predictions` writes a file a day and a monitor reads them."""

    @dg.asset(key=dg.AssetKey(["team", "predictions"]), partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run())
    def predictions(context: dg.AssetExecutionContext) -> None:
        days = [FIRST + timedelta(days=i) for i in range(3)]
        for day in days:
            if not context.has_partition_key_range or str(day) in context.partition_keys:
                write_day(home, day, path="made/{day}.parquet")

    spec = example_spec(home, **{"log": LOG, "labels": None, "label": None} | overrides)
    monitor = build_monitor(spec, MonitoringHome(path=str(home)))
    return spec, dg.Definitions.merge(dg.Definitions(assets=[predictions]), monitor)


NEW_YORK = dg.DailyPartitionsDefinition("2026-03-01", timezone="America/New_York")


@pytest.mark.parametrize("partitions", [NEW_YORK, dg.DailyPartitionsDefinition("2026-02-01", timezone="America/New_York")])
def test_one_run_of_a_range_makes_the_asset_and_takes_in_the_same_days(tmp_path, partitions):
    spec, defs = definitions(tmp_path, partitions)
    keys = [dg.AssetKey(["team", "predictions"]), dg.AssetKey(["example", "inference_log"])]
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=keys,
            tags={"dagster/asset_partition_range_start": str(FIRST), "dagster/asset_partition_range_end": str(THIRD)},
        )
        assert result.success
    with example_warehouse(tmp_path, spec) as connection:
        assert len(contents(connection, spec, "inference_log")["inference_log"]) == 3 * len(example_rows(FIRST))


OTHER_PARTITIONS = [None, dg.DailyPartitionsDefinition("2026-03-01"), dg.WeeklyPartitionsDefinition("2026-03-01")]


@pytest.mark.parametrize("partitions", [NEW_YORK, *OTHER_PARTITIONS])
def test_the_asset_is_upstream_whatever_its_partitions(tmp_path, partitions):
    _, defs = definitions(tmp_path, partitions)
    graph = defs.resolve_asset_graph()
    assert dg.AssetKey(["team", "predictions"]) in graph.get(dg.AssetKey(["example", "inference_log"])).parent_keys
    write_day(tmp_path, FIRST, path="made/{day}.parquet")
    with dg.DagsterInstance.ephemeral() as instance:
        assert (
            defs.resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=instance, partition_key=str(FIRST), asset_selection=[dg.AssetKey(["example", "inference_log"])]
            )
            .success
        )


def test_an_asset_of_another_code_location_is_upstream_too(tmp_path):
    spec = example_spec(tmp_path, log=LOG, labels={"asset": "team/truth", "path": "labels/{day}.parquet"})
    graph = build_monitor(spec).resolve_asset_graph()
    assert graph.get(dg.AssetKey(["example", "inference_log"])).parent_keys == {dg.AssetKey.from_user_string(ASSET)}
    assert dg.AssetKey(["team", "truth"]) in graph.get(dg.AssetKey(["example", "labels"])).parent_keys


def test_a_new_column_is_reported_with_the_day(tmp_path):
    _, defs = definitions(tmp_path, NEW_YORK)
    write_day(tmp_path, FIRST, path="made/{day}.parquet")
    write_day(tmp_path, THIRD, frame=example_rows(THIRD).assign(channel="web"), path="made/{day}.parquet")
    key = dg.AssetKey(["example", "inference_log"])
    with dg.DagsterInstance.ephemeral() as instance:
        for day in (FIRST, THIRD):
            defs.resolve_implicit_global_asset_job_def().execute_in_process(
                instance=instance, partition_key=str(day), asset_selection=[key]
            )
        event = instance.get_latest_materialization_event(key)
        assert event.asset_materialization.metadata["new_columns"].value == "channel"
