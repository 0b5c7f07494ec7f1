"""Laws of the picture of a day's worst feature."""

from base64 import b64decode
from datetime import date
from xml.etree import ElementTree

import numpy as np

from monitoring_assets.measuring.histograms import Histogram
from monitoring_assets.reporting.worst_feature import worst_feature_picture

DAYS = [date(2026, 3, 10), date(2026, 3, 11)]


def categories(counts: list[list[float]], names: list[str], missing: tuple[float, ...] = (0, 0)) -> Histogram:
    nothing = np.full(len(counts), np.nan)
    held = np.array(counts, float).reshape(len(counts), len(names))
    days = DAYS[: len(counts)]
    return Histogram("categorical", days, np.array(names, object), held, np.array(missing, float), nothing, nothing, True)


def svg(markdown: str) -> str:
    text = b64decode(markdown.split("base64,")[1].rstrip(")")).decode()
    ElementTree.fromstring(text)  # well-formed, or this raises
    return text


def test_a_day_is_drawn_the_same_whatever_other_days_hold() -> None:
    baseline = categories([[5, 5]], ["DE", "US"], (0,))
    alone = worst_feature_picture("country", baseline, categories([[9, 1]], ["DE", "US"], (0,)), 0)
    beside = worst_feature_picture("country", baseline, categories([[9, 1, 0], [0, 0, 9]], ["DE", "US", "XX"]), 0)
    assert alone == beside
    assert alone != worst_feature_picture("country", baseline, categories([[9, 1, 0], [0, 0, 9]], ["DE", "US", "XX"]), 1)


def test_names_from_data_are_escaped() -> None:
    evil = "<script>alert(1)</script>"
    drawn = svg(worst_feature_picture(evil, categories([[5]], [evil], (0,)), categories([[5]], [evil], (0,)), 0))
    assert "<script" not in drawn


def test_a_day_without_any_value_is_drawn() -> None:
    nothing = categories([[0]], ["DE"], (10,))
    assert "missing" in svg(worst_feature_picture("country", categories([[5]], ["DE"], (0,)), nothing, 0))
    empty = Histogram("numeric", DAYS[:1], np.zeros(0), np.zeros((1, 0)), np.array([10.0]), *[np.array([np.nan])] * 2, True)
    assert "missing" in svg(worst_feature_picture("amount", empty, empty, 0))
