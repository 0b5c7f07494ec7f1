"""Where rows are measured when they lie in a lake."""

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from monitoring_assets.monitor_spec.parts import SpecModel


class Spark(SpecModel):
    """The Spark that reads the rows where they are. See docs/scale.md.

    remote : the address of a Spark Connect server, `sc://host:15002`.
    remote_env : the environment variable that holds that address, where a token is part of it.
    master : a classic master, such as `spark://host:7077`, `yarn` or `local[2]`; this process then is its driver.
    config : settings of the session, such as `spark.executor.memory: 4g`. Credentials belong into Spark's own files.
    """

    remote: str | None = Field(default=None, pattern=r"^sc://\S+$")
    remote_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    master: str | None = Field(default=None, min_length=1)
    config: dict[str, str | int | float | bool] = {}

    @field_validator("remote")
    @classmethod
    def _no_secret(cls, remote: str | None) -> str | None:
        if remote is not None and re.search(r"[;/](token|x-[\w-]*(key|token|auth)[\w-]*)=|@", remote):
            raise ValueError(
                "an address in the YAML may not hold a token or a user; name an environment variable in `remote_env`"
            )
        return remote

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        given = [name for name in ("remote", "remote_env", "master") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of `remote`, `remote_env` and `master`, found {' and '.join(given) or 'none'}")
        return self


class Engine(SpecModel):
    """What measures the rows of a lake; without it DuckDB does, in the process itself."""

    spark: Spark
