"""The page of a comparison: whole without a network, harmless whatever the data is called, honest bars."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd

from monitoring_assets.comparison.compare import Options, drift_report
from monitoring_assets.comparison.page import page

HOSTILE = "<script>alert(1)</script>\"'&\x1b[2J"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs


def drawn(reference: pd.DataFrame, current: pd.DataFrame) -> tuple[str, Tags]:
    text, tags = page(drift_report(reference, current)), Tags()
    tags.feed(text)
    return text, tags


def frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    random = np.random.default_rng(0)
    one = pd.DataFrame({"calm": random.normal(size=300), HOSTILE: [HOSTILE, "b"] * 150, "at": pd.Timestamp("2026-03-01")})
    return one, one.assign(**{HOSTILE: ["c", HOSTILE] * 150, "calm": one["calm"] + 0.01})


def test_names_and_values_cannot_leave_their_place() -> None:
    text, tags = drawn(*frames())
    assert "script" not in tags.names
    assert not any(name.startswith("on") for name, _ in tags.attributes)
    assert "\x1b" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;\\x1b[2J" in text


def test_names_in_what_moved_of_all_features_together_cannot_leave_their_place_either() -> None:
    x = np.random.default_rng(0).normal(size=300)
    one, other = pd.DataFrame({HOSTILE: x, "y": x}), pd.DataFrame({HOSTILE: x, "y": -x})
    text, tags = page(drift_report(one, other, Options(methods=["correlation"]))), Tags()
    tags.feed(text)
    assert "script" not in tags.names
    assert "relation: &lt;script&gt;" in text


def test_the_page_asks_nobody_for_anything() -> None:
    text, tags = drawn(*frames())
    assert not {"link", "img", "iframe", "object", "embed"} & set(tags.names)
    assert all((value or "").startswith("#") for name, value in tags.attributes if name in {"href", "src", "xlink:href"})
    assert not re.search(r"url\(|@import|https?://", text)


def test_drifted_features_come_first_and_every_feature_is_drawn() -> None:
    text, tags = drawn(*frames())
    assert text.index("<h2>Drifted</h2>") < text.index('id="f0"') < text.index("<h2>Not drifted</h2>") < text.index('id="f1"')
    assert tags.names.count("svg") == 3
    assert "2026-03-01" in text


def test_a_column_of_one_table_only_is_named_and_leads_nowhere() -> None:
    one, other = frames()
    text, tags = drawn(one.drop(columns="at"), other.drop(columns=["at", HOSTILE]))
    assert text.index("gone from the current table: &lt;script&gt;") < text.index("<td>schema</td>")
    assert "<h2>Drifted</h2>" not in text
    assert [value for name, value in tags.attributes if name == "href"] == ["#f1"]


def test_a_page_of_nothing_judged_says_so() -> None:
    text, _ = drawn(frames()[0], frames()[1][:0])
    assert "Not judged: the current table has 0 rows, 30 needed" in text


def test_values_at_the_ends_of_the_numbers_are_drawn() -> None:
    ends = pd.DataFrame({"x": [1e308, -1e308, np.inf, np.nan] * 20, "tiny": [5e-324, 0.0] * 40, "none": [None] * 80})
    text, _ = drawn(ends, ends)
    assert "nan," not in text
    assert "inf," not in text
