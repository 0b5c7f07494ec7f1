"""A warehouse that knows promoted models while the registry does not: an error, unless somebody asks to start over.

Without this a deleted `mlflow.db` would look like a new monitor, whose first candidate meets no gate.
"""

import duckdb

from monitoring_assets.errors import ChampionMissing
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.retraining.registry import Registry
from monitoring_assets.warehouse import table, transaction

# The prefix of a model version whose registry is lost: the new registry counts from 1 again.
LOST = "lost "


def require_registry_of_the_champion(
    connection: duckdb.DuckDBPyConnection, registry: Registry, spec: MonitorSpec, *, starts_over: bool = False
) -> None:
    """Check that the registry knows the newest promoted model of the warehouse.

    With `starts_over` it need not: the versions the warehouse knows are renamed (`lost 3`), and the next candidate is the first.

    Raises
    ------
    ChampionMissing
        When it does not, and nobody asked to start over.
    """
    decisions, baselines = table(spec, "retrain_decisions"), table(spec, "baselines")
    found = connection.execute(
        f"SELECT candidate_version FROM {decisions} WHERE verdict = 'promoted' AND NOT starts_with(candidate_version, ?) "
        "ORDER BY TRY_CAST(candidate_version AS INTEGER) DESC LIMIT 1",
        [LOST],
    ).fetchone()
    if found is None or registry.find(spec.name, found[0]) is not None:
        return
    if not starts_over:
        raise ChampionMissing(
            f"the warehouse knows version {found[0]} of model {spec.name!r} as promoted, but {registry.store.name} does not know "
            f"it: it was deleted, or another one is in use. Restore {registry.store.files} from a backup, or "
            f"{registry.store.remedy}. To start over with a first champion that meets no gate, materialise `model_candidate` "
            f"and `champion` with the run tag `monitoring_assets/start_over: yes`."
        )
    with transaction(connection):
        for target, column in ((decisions, "candidate_version"), (baselines, "model_version")):
            connection.execute(
                f"UPDATE {target} SET {column} = ? || {column} WHERE {column} IS NOT NULL AND NOT starts_with({column}, ?)",
                [LOST, LOST],
            )
