"""docs/quality.md against the code: its table of expectations, its settings, its columns."""

import re
from pathlib import Path

import yaml

from monitoring_assets.monitor_spec import Quality
from monitoring_assets.quality.expectations import GX_NAMES, KINDS
from monitoring_assets.warehouse_tables import TABLES

DOCS = (Path(__file__).parents[1] / "docs/quality.md").read_text()


def test_the_table_names_each_checks_expectation() -> None:
    reported = dict(re.findall(r"^\| `(\w+)` \| `?(\w+)`?", DOCS, re.MULTILINE))
    assert reported == {**GX_NAMES, "declared": "any"}
    assert set(reported) == set(KINDS)


def test_its_settings_are_the_defaults() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    assert Quality.model_validate(yaml.safe_load(block)["quality"]) == Quality()


def test_the_columns_of_its_query_exist() -> None:
    (query,) = re.findall(r"```sql\nSELECT (.*?) FROM fraud.quality WHERE NOT (\w+)", DOCS, re.DOTALL)
    assert {*query[0].split(", "), query[1]} <= set(TABLES["quality"])
