"""The address of a PostgreSQL database: taken from an environment variable, kept out of every message.

What is done with the database is not here: `ingestion/postgres.py` reads logs, `shared_warehouse/` keeps results.
"""

import os
import re
from typing import NoReturn
from urllib.parse import unquote, urlsplit

# What PostgreSQL and libpq say when the same connection will not succeed later either.
PERMANENT = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "pg_hba.conf",
    "SSL",
    "denied",
    "invalid",
)


def address_in(variable: str, refusal: type[Exception], otherwise: str) -> str:
    """The address an environment variable holds; `refusal` where it holds none, with what to do `otherwise`."""
    uri = os.environ.get(variable, "").strip()
    if not uri:
        raise refusal(f"the environment variable {variable} is not set; it must hold a postgresql:// address")
    if not is_address(uri):
        raise refusal(f"the environment variable {variable} does not hold a postgresql:// address; {otherwise}")
    return uri


def is_address(text: str) -> bool:
    return bool(re.match(r"postgres(ql)?://", text))


def refuse_missing_driver(what: str, refusal: type[Exception]) -> NoReturn:
    """Say how to install what PostgreSQL needs."""
    raise refusal(f'{what} needs the packages of the extra `postgres`: pip install "monitoring-assets[postgres]"') from None


def reason_of_refusal(uri: str, said: str) -> tuple[str, bool]:
    """Why there is no connection, without any part of the address, and whether trying again is useless."""
    said = re.sub(r"connection to server .*?(failed: |$)", "", " ".join(said.split())).split("Failed to connect: ")[-1]
    said = re.sub(r'"[^"]*"', "...", said)
    for secret in sorted(_parts(uri), key=len, reverse=True):
        said = said.replace(secret, "...")
    return said, any(text in said for text in PERMANENT)


def _parts(uri: str) -> set[str]:
    """The parts of an address that could tell something, as they stand in it and decoded."""
    try:
        split = urlsplit(uri)
        parts = {uri, split.netloc, split.username or "", split.password or "", split.hostname or "", split.path.strip("/")}
    except ValueError:
        parts = {uri}
    parts |= set(re.split(r"[/:@?&=,]+", uri.split("://", 1)[-1]))
    return {text for part in parts for text in (part, unquote(part)) if len(text) > 2}
