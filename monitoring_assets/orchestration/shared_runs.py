"""Runs that several monitors share: where many are due for the same work on the same days, they are asked for in few runs.

A run is a process, which takes seconds before it does anything; a day of a small monitor takes less than that. The steps of a
monitor depend on no other's, so one that fails ends its own and lets the rest go on. What has failed before gets a run of its
own: should it take its process down, it takes nobody else's work with it.
"""

from collections.abc import Sequence
from hashlib import sha256

import dagster as dg

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
# On a run, one for each of its monitors: the key of what it was asked for, by which it is known not to be asked for twice.
PART_TAG = "monitoring_assets.part/"
# On a request that is to have a run of its own.
ALONE_TAG = "monitoring_assets/alone"
# A code location of so many monitors has a run for each, which is easier to read.
MONITORS_WITH_RUNS_OF_THEIR_OWN = 10
# In a larger one so many share a run; of more, so many runs share them.
MONITORS_A_RUN, RUNS_AT_ONCE = 50, 4
# A run of several that lasts longer is ended, where Dagster monitors runs: a source that never answers keeps nobody waiting.
LONGEST_SECONDS = 3600


def earlier_run(instance: dg.DagsterInstance, monitor: str, key: str) -> dg.DagsterRun | None:
    """The run that was started for this key of a monitor, alone or with others."""
    return next(iter(instance.get_runs(dg.RunsFilter(tags={PART_TAG + monitor: key}), limit=1)), None)


def shared_runs(instance: dg.DagsterInstance, requests: Sequence[dg.RunRequest], monitors: int) -> list[dg.RunRequest]:
    """Requests of some of so many monitors as those of runs. The work on days that was started before is left out; any other is
    as it was.

    Examples
    --------
    >>> def request(monitor: str) -> dg.RunRequest:
    ...     return dg.RunRequest(monitor, tags={RANGE_START: "2026-03-02", RANGE_END: "2026-03-02"},
    ...                          asset_selection=[dg.AssetKey([monitor, "inference_log"])])
    >>> with dg.DagsterInstance.ephemeral() as instance:
    ...     runs = [shared_runs(instance, [request(f"m{number}") for number in range(due)], 1000) for due in (4, 60, 400)]
    >>> [[len(run.asset_selection) for run in asked] for asked in runs]
    [[4], [30, 30], [100, 100, 100, 100]]
    """
    alone: list[dg.RunRequest] = []
    alike: dict[object, list[dg.RunRequest]] = {}
    for request in requests:
        if RANGE_START not in request.tags or not request.asset_selection:
            alone.append(request)
            continue
        earlier = earlier_run(instance, _monitor(request), str(request.run_key))
        if earlier is not None and earlier.status != dg.DagsterRunStatus.NOT_STARTED:  # which a crash may leave behind
            continue
        if ALONE_TAG in request.tags or monitors <= MONITORS_WITH_RUNS_OF_THEIR_OWN:
            alone.append(_run_of([request]))
        else:
            assets = frozenset(key.path[-1] for key in request.asset_selection)
            alike.setdefault((assets, frozenset(request.tags.items())), []).append(request)
    return [*alone, *(_run_of(part) for group in alike.values() for part in _parts(group))]


def _parts(group: Sequence[dg.RunRequest]) -> list[Sequence[dg.RunRequest]]:
    runs = min(RUNS_AT_ONCE, -(-len(group) // MONITORS_A_RUN))
    return [group[place::runs] for place in range(runs)]


def _run_of(requests: Sequence[dg.RunRequest]) -> dg.RunRequest:
    """One run of all of them."""
    keys = {_monitor(request): str(request.run_key) for request in requests}
    together = sha256(repr(sorted(keys.items())).encode()).hexdigest()[:16]
    bounds = {"dagster/max_runtime": str(LONGEST_SECONDS)} if len(keys) > 1 else {}
    return dg.RunRequest(
        run_key=next(iter(keys.values())) if len(keys) == 1 else together,
        tags={**requests[0].tags, **bounds, **{PART_TAG + monitor: key for monitor, key in keys.items()}},
        asset_selection=[key for request in requests for key in request.asset_selection or ()],
    )


def _monitor(request: dg.RunRequest) -> str:
    return (request.asset_selection or ())[0].path[0]
