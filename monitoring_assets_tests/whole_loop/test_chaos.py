"""Laws of a monitor that is killed: the short form of `make chaos`, and that its checks see what they are there for."""

from pathlib import Path

import pytest

from monitoring_assets_tests.whole_loop import chaos
from monitoring_assets_tests.whole_loop.chaos import STEPS, Snapshot, Work, check_accounts, steps_done

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chaos")


@pytest.fixture(scope="module")
def works(folder: Path) -> list[Work]:
    return chaos.undisturbed(folder)


def test_a_kill_at_any_moment_leaves_old_days_or_new_ones_and_is_made_good_by_a_run(works: list[Work], folder: Path) -> None:
    assert chaos.run(works, folder, kills=6, seed=1).kills >= 6


def test_every_table_that_a_run_writes_is_watched_and_changes_with_the_source(works: list[Work]) -> None:
    first, changed, _ = works
    watched = {table for tables in STEPS.values() for table in tables} | set(chaos.GROWING)
    assert {name for name, rows in changed.new.items() if rows} == watched
    same = {name for name in watched if changed.old[name] == changed.new[name]}
    assert same == {*chaos.GROWING, *STEPS["reference_baseline"]}
    assert first.new.keys() == changed.new.keys()


def test_days_whose_bins_were_divided_are_among_them(works: list[Work]) -> None:
    assert len(works[1].new["profile_grids"]) > len(works[0].new["profile_grids"])


def mixed(work: Work, **found: list) -> Snapshot:
    """The old days, but for these tables."""
    return work.old | {name.replace("_of_", " of "): rows for name, rows in found.items()}


def test_a_day_that_is_half_stored_is_seen(works: list[Work]) -> None:
    work = works[1]
    log, new = work.old["inference_log"], work.new["inference_log"]
    with pytest.raises(AssertionError, match="rows stored"):
        check_accounts(mixed(work, inference_log=log[:-1]))
    with pytest.raises(AssertionError, match="do not hold the same days"):
        steps_done(mixed(work, inference_log=log[:500] + new[500:]), work.old, work.new)
    with pytest.raises(AssertionError, match="do not hold the same days"):
        steps_done(mixed(work, inference_log=new), work.old, work.new)
    with pytest.raises(AssertionError, match="daily_profile holds the new days, inference_log before it still the old"):
        steps_done(work.old | {name: work.new[name] for name in STEPS["daily_profile"]}, work.old, work.new)
    with pytest.raises(AssertionError, match="rows that are gone"):
        steps_done(work.old | {name: work.new[name] for name in STEPS["inference_log"]}, work.old, work.new)


def test_a_row_that_stands_twice_is_seen(works: list[Work]) -> None:
    work = works[1]
    twice = [*work.new["inference_log"], work.new["inference_log"][-1]]
    accounts = [(*row[:2], row[2] + 1, row[3] + 1, *row[4:]) for row in work.new["deliveries of inference_log"][-1:]]
    found = work.new | {
        "inference_log": twice,
        "deliveries of inference_log": [*work.new["deliveries of inference_log"][:-1], *accounts],
    }
    with pytest.raises(AssertionError, match="holds more than once"):
        check_accounts(found)
