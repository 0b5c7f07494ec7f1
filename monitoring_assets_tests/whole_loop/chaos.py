"""`make chaos`: `kill -9` at random moments of a monitor's work, and what must hold in the warehouse after each.

A process takes in, checks, profiles, scores and measures days, and is killed; its warehouse, opened as the kill left it, must
hold of each step the old days or the new ones, and every row accounted for; run again, it must equal the warehouse of a monitor
that nobody disturbed. One series of five starts a monitor, in a folder without a warehouse; the others meet days
whose source has changed since they were stored.

A series is one to six kills of the same work and the run that succeeds. It depends on the seed and its number alone, up to the
clock, so `--series 17` does that one again.
"""

import argparse
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from monitoring_assets.monitor_spec import MonitorSpec, days_between
from monitoring_assets.shared_warehouse.postgres_warehouse import PostgresWarehouse
from monitoring_assets.warehouse import Warehouse
from monitoring_assets.warehouse_tables import tables_of
from monitoring_assets_tests import postgres_server
from monitoring_assets_tests.example_monitor import contents, example_rows, example_spec, rounded, write_file, write_reference
from monitoring_assets_tests.stores import Databases
from monitoring_assets_tests.whole_loop.day_process import OVERRIDES, DayProcess, Results, Step

REFERENCE_DAYS = days_between(date(2026, 2, 20), date(2026, 2, 25))
QUIET_DAYS = days_between(date(2026, 3, 8), date(2026, 3, 9))
CHANGED_DAYS = days_between(date(2026, 3, 10), date(2026, 3, 12))
ROWS = 300

Rows = list[tuple[Any, ...]]
# The rows of every table; of those that two assets write to, the rows of each.
Snapshot = dict[str, Rows]

# What the work writes, in order. The tables of one step change in one transaction.
STEPS = {
    "reference_baseline": ("baselines", "baseline_profiles", "baseline_sample", "baseline_facts"),
    "inference_log": ("inference_log", "quarantine of inference_log", "deliveries of inference_log"),
    "serving": ("serving",),
    "daily_profile": ("daily_profile", "daily_sample"),
    "quality": ("quality",),
    "drift_scores": ("drift_scores", "drift_verdicts"),
    "labels": ("labels", "quarantine of labels", "deliveries of labels"),
    "performance": ("performance_counts", "performance"),
}
# Facts about columns and baselines that are only ever added to, whichever step needs one first.
GROWING = ("profile_grids", "thresholds")
# Seconds, and when a file was written, are never the same twice; the version is no result.
NOT_COMPARED = ("costs", "arrivals", "feature_changes", "warehouse_version")


def log_rows(day: date, version: int) -> pd.DataFrame:
    """What the log holds of a day, now and after it was delivered again: two of the rows without id, three repeated."""
    rows = example_rows(day, ROWS - 40 * version, shift=1.5 * version)
    rows["took"] = np.arange(1.0, len(rows) + 1) * (version + 1)
    if version:  # so many rows in a narrow place that the column's bins are divided there
        rows.loc[rows.index[:150], "amount"] = np.linspace(51, 51.2, 150)
    repeated = rows.iloc[10:13].assign(amount=float(version))
    rows.loc[rows.index[:2], "id"] = None
    return pd.concat([rows, repeated], ignore_index=True)


def label_rows(day: date, version: int) -> pd.DataFrame:
    """Labels of the day's predictions, and one of an id that nobody predicted."""
    rows = log_rows(day, version).dropna(subset="id").drop_duplicates("id")
    late = (rows["score"] > 0.4 + 0.2 * version).astype(int)
    return pd.concat([pd.DataFrame({"id": rows["id"], "late": late}), pd.DataFrame({"id": [f"x{version}"], "late": [1]})])


def write_sources(home: Path) -> None:
    write_reference(home, REFERENCE_DAYS, ROWS)
    for day in QUIET_DAYS:
        put_day(home, day, 0)
    change_sources(home, 0)


def change_sources(home: Path, version: int) -> None:
    for day in CHANGED_DAYS:
        put_day(home, day, version)


def put_day(home: Path, day: date, version: int) -> None:
    write_file(home / f"log/{day}.parquet", log_rows(day, version))
    write_file(home / f"labels/{day}.parquet", label_rows(day, version))


def over(days: Sequence[date]) -> list[Step]:
    return [("daily", days[0], days[-1]), ("labels", days[0], days[-1])]


FIRST_WORK: list[Step] = [("reference_baseline",), *over([*QUIET_DAYS, *CHANGED_DAYS])]
REPEATED_WORK = over(CHANGED_DAYS)


def chaos_spec(home: Path) -> MonitorSpec:
    return example_spec(home, **OVERRIDES)


def snapshot(home: Path) -> Snapshot:
    """What the warehouse holds when it is opened now. A copy is opened: what a kill left is for the next process to recover."""
    if Results.address_of is not None:
        with PostgresWarehouse(uri=Results.address_of(home)).connect() as connection:
            return _snapshot(connection, chaos_spec(home))
    with tempfile.TemporaryDirectory() as folder:
        for file in home.glob("warehouse.duckdb*"):
            shutil.copy(file, folder)
        with Warehouse(Path(folder) / "warehouse.duckdb").connect() as connection:
            return _snapshot(connection, chaos_spec(home))


def copied(home: Path, target: Path) -> Path:
    """A copy of a home, its database too."""
    shutil.copytree(home, target)
    if Results.address_of is not None:
        Results.address_of(target)
    return target


def _snapshot(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> Snapshot:
    there = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    found: Snapshot = {}
    for name, columns in tables_of(spec).items():
        if name in NOT_COMPARED:
            continue
        rows = [rounded(row) for row in contents(connection, spec, name)[name]] if name in there else []
        if "asset" in columns:
            place = list(columns).index("asset")
            for asset in ("inference_log", "labels"):
                found[f"{name} of {asset}"] = [row for row in rows if row[place] == asset]
        else:
            found[name] = rows
    return found


def steps_done(found: Snapshot, old: Snapshot, new: Snapshot) -> list[str]:
    """The steps whose tables hold the new days, which are the first ones; all other tables must hold the old days."""
    done, behind = [], ""
    for step, tables in STEPS.items():
        changing = [name for name in tables if old[name] != new[name]]
        if not changing or (step == "quality" and found["quality"] == _kept_findings(old) and "inference_log" in done):
            continue
        are = {name: "new" if found[name] == new[name] else "old" if found[name] == old[name] else "mixed" for name in changing}
        assert len(set(are.values())) == 1, f"the tables of {step} do not hold the same days: {are}"
        assert "mixed" not in are.values(), f"{step} holds neither the old days nor the new ones: {are}"
        if "new" in are.values():
            assert not behind, f"{step} holds the new days, {behind} before it still the old ones"
            done.append(step)
        else:
            assert step != "quality" or "inference_log" not in done, "quality holds findings about rows that are gone"
            behind = behind or step
    for name in GROWING:
        missing = [row for row in old[name] if row not in found[name]]
        unknown = [row for row in found[name] if row not in new[name]]
        assert not missing, f"{name} has lost {missing}"
        assert not unknown, f"{name} holds {unknown}, as no undisturbed run does"
    return done


def _kept_findings(old: Snapshot) -> Rows:
    """The findings until the new rows are judged: with the rows go the findings about them."""
    return [row for row in old["quality"] if row[0] not in CHANGED_DAYS]


def check_accounts(found: Snapshot) -> None:
    """Accepted + quarantined = delivered, per day and asset, in the account and in the tables; no id twice on a day."""
    for asset in ("inference_log", "labels"):
        stored, refused = (Counter(row[0] for row in found[name]) for name in (asset, f"quarantine of {asset}"))
        accounts = {row[0]: row[2:5] for row in found[f"deliveries of {asset}"]}
        for day in {*stored, *refused, *accounts}:
            delivered, accepted, quarantined = accounts.get(day, (0, 0, 0))
            reported = f"{asset}, {day}: account {accounts.get(day)}, {stored[day]} rows stored, {refused[day]} in quarantine"
            assert (stored[day], refused[day]) == (accepted, quarantined), reported
            assert accepted + quarantined == delivered, reported
        repeated = [key for key, times in Counter(row[:2] for row in found[asset]).items() if times > 1]
        assert not repeated, f"{asset} holds more than once: {repeated}"


def delivered_rows(found: Snapshot, asset: str) -> dict[date, int]:
    return {row[0]: row[2] for row in found[f"deliveries of {asset}"]}


@dataclass
class Work:
    """Something to be disturbed: the folder it starts from, the warehouse before and after, and what it takes undisturbed, the
    last time that it was."""

    name: str
    start: Path
    steps: list[Step]
    old: Snapshot
    new: Snapshot
    seconds: float
    writes: int


@dataclass
class Tally:
    """What happened, for the report at the end."""

    during: Counter[str] = field(default_factory=Counter)
    works: Counter[str] = field(default_factory=Counter)
    aims: Counter[str] = field(default_factory=Counter)
    with_wal: int = 0
    too_late: int = 0

    @property
    def kills(self) -> int:
        return self.during.total()


class Writes:
    """Changes of the warehouse's file and of its write-ahead log, as somebody sees them who keeps looking."""

    def __init__(self, home: Path) -> None:
        self._files = [home / "warehouse.duckdb", home / "warehouse.duckdb.wal"]
        self._last = self._look()
        self.seen = 0

    def await_one(self, process: DayProcess) -> bool:
        """Return at the next change; False when the process ends without."""
        while (now := self._look()) == self._last:
            if not process.is_alive(0.0002):
                return False
        self._last = now
        self.seen += 1
        return True

    def _look(self) -> list[tuple[int, int] | None]:
        return [_size_and_time(file) for file in self._files]


def _size_and_time(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def undisturbed(folder: Path) -> list[Work]:
    """Do the work without any kill: first, then each time the sources change. From the second change on nothing is new."""
    home = folder / "home"
    write_sources(home)
    DayProcess(home, []).succeed()  # from here on the server has imported everything
    starts, states, measured = [], [], []
    for turn in range(5):
        change_sources(home, turn % 2)
        starts.append(copied(home, folder / f"before_{turn}"))
        measured.append(_measured(home, REPEATED_WORK if turn else FIRST_WORK))
        states.append(snapshot(home))
        check_accounts(states[-1])
        _check_delivered(states[-1], turn % 2)
    assert states[3] == states[1], "a source that changes to and fro does not leave the same tables"
    assert states[4] == states[2], "a source that changes to and fro does not leave the same tables"
    nothing: Snapshot = {name: [] for name in states[0]}
    return [
        Work("first", starts[0], FIRST_WORK, nothing, states[0], *measured[0]),
        Work("changed", starts[3], REPEATED_WORK, states[2], states[3], *measured[3]),
        Work("changed back", starts[4], REPEATED_WORK, states[3], states[4], *measured[4]),
    ]


def _measured(home: Path, steps: list[Step]) -> tuple[float, int]:
    writes, process = Writes(home), DayProcess(home, steps)
    while writes.await_one(process):
        pass
    return process.succeed(), writes.seen


def _check_delivered(found: Snapshot, version: int) -> None:
    versions = dict.fromkeys(QUIET_DAYS, 0) | dict.fromkeys(CHANGED_DAYS, version)
    assert delivered_rows(found, "inference_log") == {day: len(log_rows(day, of)) for day, of in versions.items()}
    assert delivered_rows(found, "labels") == {day: len(label_rows(day, of)) for day, of in versions.items()}


def disturb(work: Work, number: int, seed: int, folder: Path, tally: Tally) -> Iterator[str]:
    """One series of kills, and the run that succeeds after them."""
    dice = random.Random(f"{seed} {number}")
    home = folder / "home"  # the same for every work, because accounts name the files they are about
    shutil.rmtree(home)
    copied(work.start, home)
    for _ in range(dice.randint(1, 6)):
        process, writes = DayProcess(home, work.steps), Writes(home)
        if dice.random() < 0.7 or not work.writes:  # a server shows no writes to aim at
            aim, moment = "moment", dice.uniform(0, work.seconds)
            reported = f"after {moment:.3f} s of {work.seconds:.3f}"
            process.is_alive(moment)
        else:
            aim, chosen = "write", dice.randint(1, work.writes)
            reported = f"at write {chosen} of {work.writes}"
            while writes.seen < chosen and writes.await_one(process):
                pass
        if not process.kill():
            process.succeed()
            tally.too_late += 1
            yield f"series {number}, {work.name}: done before a kill {reported}"
            break
        wal = _size_and_time(home / "warehouse.duckdb.wal") or (0, 0)
        found = snapshot(home)
        check_accounts(found)
        done, during = steps_done(found, work.old, work.new), process.last_started
        tally.during[during] += 1
        tally.works[work.name] += 1
        tally.aims[aim] += 1
        tally.with_wal += wal[0] > 0
        stands = done[-1] if done else "nothing"
        yield f"series {number}, {work.name}: killed {reported}, in {during}; new to {stands}; write-ahead log {wal[0]:,} bytes"
    work.seconds = DayProcess(home, work.steps).succeed()
    found = snapshot(home)
    check_accounts(found)
    different = [name for name in work.new if found[name] != work.new[name]]
    assert not different, f"run again, {different} differ from an undisturbed run's"


def run(works: Sequence[Work], folder: Path, kills: int, seed: int, only: int | None = None) -> Tally:
    """Series after series until so many processes were killed, or `only` that one."""
    tally, number = Tally(), only or 0
    while tally.kills < kills:
        try:
            for reported in disturb(works[(0, 1, 2, 1, 2)[number % 5]], number, seed, folder, tally):
                print(reported, flush=True)
        except AssertionError as error:
            error.add_note(f"`--seed {seed} --series {number}` does this series again; what it left is in {folder / 'home'}")
            raise
        if only is not None:
            break
        number += 1
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--series", type=int, default=None, help="do only this series")
    parser.add_argument("--postgres", action="store_true", help="keep the results in a PostgreSQL server of its own")
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.postgres:
            databases = Databases(stack.enter_context(postgres_server.running()))
            Results.address_of = databases.address_of
        _disturb_all(options)


def _disturb_all(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="chaos_"))  # left when something does not hold
    works = undisturbed(folder)
    for work in works:
        print(f"{work.name}: {work.seconds:.2f} s undisturbed, {work.writes} writes seen", flush=True)
    tally = run(works, folder, options.kills, options.seed, options.series)
    shutil.rmtree(folder)
    print(f"\n{tally.kills} kills in {time.perf_counter() - started:.0f} s. After each, every row was accounted for and no day")
    print("mixed; run again, every table was what an undisturbed run leaves.")
    print("aimed at a", dict(tally.aims), f"and {tally.too_late} more that came too late")
    print("of work", dict(tally.works))
    print("in step", dict(tally.during.most_common()))
    print("that left a write-ahead log to recover:", tally.with_wal, flush=True)


if __name__ == "__main__":
    main()
