"""The user's Dagster instance, for commands that run something on it. It is looked up, never created."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from monitoring_assets.errors import DagsterHomeMissing


@contextmanager
def users_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The instance of `DAGSTER_HOME`, or where that is not set the one in `dagster_home` of the data folder, as it is.

    Raises
    ------
    DagsterHomeMissing
        When there is neither. None is created: its runs would not show where the user looks for them.
    """
    if not os.environ.get("DAGSTER_HOME"):
        found = home / "dagster_home"
        if not found.is_dir():
            raise DagsterHomeMissing(
                f"DAGSTER_HOME is not set, and there is no {found}; these runs would show in no Dagster UI. "
                "Set it to the folder that your `dagster dev` uses: export DAGSTER_HOME=..."
            )
        os.environ["DAGSTER_HOME"] = str(found)
    with dg.DagsterInstance.get() as instance:
        yield instance
