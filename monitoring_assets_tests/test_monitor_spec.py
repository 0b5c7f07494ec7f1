"""Laws of the spec: every mistake that needs no data to be seen is refused, with the field and what is allowed."""

from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets_tests.example_monitor import EXAMPLE, example_content, example_spec

NUMBER, CATEGORY = {"kind": "numeric"}, {"kind": "categorical"}
LEVELS = {"minor": 0.1, "moderate": 0.2, "severe": 0.3}

# What is overridden -> what the message must hold: the field, and what is allowed or what clashes.
MISTAKES = {
    "an unknown key": ({"colour": "red"}, ["colour", "not permitted"]),
    "an unknown key of a feature": ({"features": {"a": NUMBER | {"max": 3}}}, ["features.a.max", "not permitted"]),
    "a kind that does not exist": ({"features": {"a": {"kind": "text"}}}, ["features.a.kind", "'numeric' or 'categorical'"]),
    "no features": ({"features": {}}, ["features", "at least 1"]),
    "a range of a category": ({"features": {"a": CATEGORY | {"minimum": 1}}}, ["features.a", "minimum and maximum are for num"]),
    "a set of a number": ({"features": {"a": NUMBER | {"allowed": ["x"]}}}, ["features.a", "allowed is for categorical"]),
    "an empty set": ({"features": {"a": CATEGORY | {"allowed": []}}}, ["features.a.allowed", "at least 1"]),
    "an empty range": (
        {"features": {"a": NUMBER | {"minimum": 2, "maximum": 1}}},
        ["features.a", "minimum 2 is above maximum 1"],
    ),
    "two roles of a column": ({"features": {"score": NUMBER}}, ["one role", "score"]),
    "a weight that is a feature": ({"sampling_weight": "amount"}, ["one role", "amount"]),
    "a weight that is not a column's name": ({"sampling_weight": 10}, ["sampling_weight", "valid string"]),
    "a label that is a feature": ({"features": {"late": NUMBER}}, ["one role", "late"]),
    "columns that differ in case": ({"features": {"Amount": NUMBER, "amount": NUMBER}}, ["upper and lower case", "'Amount'"]),
    "a column called day": ({"features": {"Day": NUMBER}}, ["'Day'", "the warehouse's own"]),
    "a column with two underscores": ({"features": {"__reason": NUMBER}}, ["'__reason'", "two underscores"]),
    "a blank column": ({"features": {" ": NUMBER}}, ["' '", "blank"]),
    "neither score nor value": ({"prediction": {"class": "c"}}, ["prediction", "either `score`", "or `value`"]),
    "both score and value": ({"prediction": {"score": "s", "value": "v"}}, ["prediction", "either `score`", "or `value`"]),
    "a class of a regression": ({"prediction": {"value": "v", "class": "c"}}, ["prediction", "`class` goes with `score`"]),
    "an unknown zone": ({"time_zone": "Mars/Olympus"}, ["time_zone", "Mars/Olympus", "IANA name such as UTC"]),
    "a zone of the machine": ({"time_zone": "localtime"}, ["time_zone", "localtime", "IANA"]),
    "a zone that is a path": ({"time_zone": "../../etc/passwd"}, ["time_zone", "IANA"]),
    "a name with capitals": ({"name": "Fraud"}, ["name", "pattern"]),
    "a name that leaves its folder": ({"name": "../x"}, ["name", "pattern"]),
    "a name of DuckDB's": ({"name": "main"}, ["name", "'main' is taken"]),
    "the name of the warehouse file": ({"name": "warehouse"}, ["name", "'warehouse' is taken"]),
    "an owner who cannot be reached": ({"owners": ["someone"]}, ["owners.0", "pattern"]),
    "no start day": ({"start_day": None}, ["start_day", "required"]),
    "an end before the start": ({"end_day": "2026-02-01"}, ["end_day 2026-02-01 is before start_day 2026-03-01"]),
    "a log in an unknown format": ({"log": {"path": "log.xlsx"}}, ["log.path", ".csv.gz, .jsonl", "log.xlsx"]),
    "an unknown brace": ({"log": {"path": "{hour}.csv"}}, ["log.path", "only {day}", "hour"]),
    "an event time of the log": ({"log": {"path": "l.csv", "event_time": "t"}}, ["log.event_time", "monitor's `event_time`"]),
    "labels without a label": ({"label": None}, ["`label`", "`labels`", "go together"]),
    "a label without labels": ({"labels": None}, ["`label`", "`labels`", "go together"]),
    "labels without a day": ({"labels": {"path": "labels.csv"}}, ["labels", "{day}", "event_time"]),
    "labels whose time is the id": (
        {"labels": {"path": "l.csv", "event_time": "id"}},
        ["labels.event_time", "already is the id"],
    ),
    "labels whose time is called day": ({"labels": {"path": "l.csv", "event_time": "day"}}, ["'day'", "warehouse's own"]),
    "a negative delay": ({"label": {"column": "late", "delay_days": -1}}, ["label.delay_days", "greater than or equal to 0"]),
    "a reference of two kinds": (
        {"reference": {"path": "r.csv", "first_day": "2026-03-01", "last_day": "2026-03-02"}},
        ["reference", "either `path`", "`first_day`"],
    ),
    "no reference": ({"reference": {}}, ["reference", "either `path`", "`first_day`"]),
    "half a range": ({"reference": {"first_day": "2026-03-01"}}, ["reference", "both `first_day` and `last_day`"]),
    "a range backwards": (
        {"reference": {"first_day": "2026-03-02", "last_day": "2026-03-01"}},
        ["reference", "first_day 2026-03-02 is after last_day 2026-03-01"],
    ),
    "a reference before the first day": (
        {"reference": {"first_day": "2026-02-20", "last_day": "2026-03-04"}},
        ["reference.first_day 2026-02-20 is before start_day 2026-03-01", "set start_day to 2026-02-20"],
    ),
    "a reference after the last day": (
        {"end_day": "2026-03-03"},
        ["reference.last_day 2026-03-04 is after end_day 2026-03-03"],
    ),
    "a reference per day": ({"reference": {"path": "{day}.csv"}}, ["reference", "without {day}"]),
    "a reference in an unknown format": (
        {"reference": {"path": "r.txt"}},
        ["reference", ".csv.gz, .jsonl", "r.txt"],
    ),
    "a segment that is a number": ({"segments": ["amount"]}, ["segments", "amount", "must be categorical", "country"]),
    "an attribute that is unknown": ({"protected_attributes": ["sex"]}, ["protected_attributes", "sex", "categorical"]),
    "a method for the wrong kind": ({"drift": {"categorical_methods": ["ks"]}}, ["categorical_methods", "ks", "chi2"]),
    "an unknown method": ({"drift": {"numeric_methods": ["t_test"]}}, ["drift.numeric_methods", "psi"]),
    "levels that do not rise": (
        {"drift": {"thresholds": {"psi": LEVELS | {"moderate": 0.1}}}},
        ["thresholds.psi", "must rise", "(0.1, 0.1, 0.3)"],
    ),
    "p-values that do not fall": ({"drift": {"thresholds": {"chi2": LEVELS}}}, ["thresholds.chi2", "fall", "p-values"]),
    "a window of no days": ({"drift": {"windows_days": [0]}}, ["drift.windows_days.0", "greater than or equal to 1"]),
    "a share above 1": ({"quality": {"missing_severe": 5}}, ["quality.missing_severe", "less than or equal to 1"]),
    "tolerances that do not rise": ({"quality": {"missing_minor": 0.2}}, ["quality", "missing_minor 0.2 must be below"]),
    "volumes that do not rise": (
        {"quality": {"minimum_volume": 3}},
        ["quality", "minimum_volume 3 must be below maximum_volume 2"],
    ),
    "no expectation's name": (
        {"quality": {"expectations": [{"type": "mean"}]}},
        ["quality.expectations.0.type", "expect_[a-z_]+"],
    ),
    "an expectation of an unknown column": (
        {"quality": {"expectations": [{"type": "expect_column_to_exist", "column": "amuont"}]}},
        ["expect_column_to_exist", "'amuont'", "no column of the log", "amount"],
    ),
    "an expectation of an unknown severity": (
        {"quality": {"expectations": [{"type": "expect_column_to_exist", "column": "amount", "severity": "grave"}]}},
        ["quality.expectations.0.severity", "'minor', 'moderate' or 'severe'"],
    ),
    "an expectation that nothing meets": (
        {"quality": {"expectations": [{"type": "expect_column_mean_to_be_between", "min_value": 3, "max_value": 1}]}},
        ["expect_column_mean_to_be_between", "min_value 3 is above max_value 1"],
    ),
    "the age of a monitor that has ended": (
        {"end_day": "2026-04-01", "quality": {"maximum_age_hours": 24}},
        ["quality.maximum_age_hours", "live monitor", "end_day"],
    ),
    "margins that do not rise": ({"performance": {"margin_minor": 0.5}}, ["performance", "margin_minor", "must rise"]),
    "an unknown severity": ({"retrain": {"severity": "awful"}}, ["retrain.severity", "'minor', 'moderate' or 'severe'"]),
    "no cooldown at all": ({"retrain": {"cooldown_days": -1}}, ["retrain.cooldown_days", "greater than or equal to 0"]),
    "a trainer without a module": ({"trainer": "train"}, ["trainer", "package.module.function"]),
    "a trainer that is not installed": ({"trainer": "no_such_package.train"}, ["trainer", "no module 'no_such_package'"]),
    "a trainer that is code": ({"trainer": "os.system('x')"}, ["trainer", "dotted path"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_its_field_and_what_is_allowed(mistake):
    overrides, expected = MISTAKES[mistake]
    with pytest.raises(ValidationError) as refused:
        MonitorSpec.model_validate(example_content(**overrides))
    # Only what we say counts: pydantic repeats the input, which may hold the words by chance.
    reported = "\n".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in refused.value.errors())
    assert [text for text in expected if text not in reported] == []


def test_the_example_without_mistakes_is_accepted(tmp_path):
    spec = example_spec(tmp_path)
    assert spec.task == "classification"
    assert spec.watched_columns == {
        "amount": "numeric",
        "items": "numeric",
        "country": "categorical",
        "score": "numeric",
        "prediction_confidence": "numeric",
    }


def test_the_predicted_class_is_called_class_in_yaml_and_predicted_class_in_python():
    for key in ("class", "predicted_class"):
        content = example_content(prediction={"score": "score", key: "c"})
        assert MonitorSpec.model_validate(content).prediction.predicted_class == "c"


def test_a_regression_watches_its_value(tmp_path):
    spec = example_spec(tmp_path, prediction={"value": "price"})
    assert (spec.task, spec.prediction.column, spec.log_columns["price"]) == ("regression", "price", "DOUBLE")


def test_a_spec_does_not_change_after_loading(tmp_path):
    with pytest.raises(ValidationError, match="frozen"):
        example_spec(tmp_path).name = "other"


def test_a_relative_path_starts_at_the_data_folder_and_an_absolute_one_or_a_url_does_not(tmp_path):
    spec = example_spec(tmp_path)
    assert spec.resolve("log/{day}.csv", date(2026, 3, 9)) == str(tmp_path / "log/2026-03-09.csv")
    assert spec.resolve("/logs/{day}.csv", date(2026, 3, 9)) == "/logs/2026-03-09.csv"
    assert spec.resolve("s3://bucket/x.csv") == "s3://bucket/x.csv"
    assert MonitorSpec.model_validate(EXAMPLE).resolve("x.csv") == str(Path("data") / "x.csv")


def test_moving_a_spec_home_leaves_the_original_where_it_was(tmp_path):
    spec = example_spec(tmp_path / "a")
    assert spec.at_home(tmp_path / "b").resolve("x") == str(tmp_path / "b" / "x")
    assert spec.resolve("x") == str(tmp_path / "a" / "x")
