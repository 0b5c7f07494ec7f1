"""The warehouse's tables: name -> column -> (DuckDB type, meaning). They are an interface: analysts query them, and what a column
means is its comment in the file. How they come into being is `warehouse.py`'s.
"""

from monitoring_assets.monitor_spec import MonitorSpec

# Raised by a change of what is stored that an earlier version of this package would misread. `UPGRADES` bring older tables to it.
VERSION, VERSION_TABLE = 1, "warehouse_version"

PROFILE_COLUMNS = {
    "day": ("DATE", "day of the predictions, in the monitor's time zone"),
    "segment": (
        "VARCHAR",
        "'column=value', or NULL for all rows; of predictions also by model version, as 'version column=version' and "
        "'column & version column=value & version'",
    ),
    "feature": ("VARCHAR", "column that was profiled"),
    "kind": ("VARCHAR", "numeric or categorical"),
    "row_count": ("BIGINT", "rows of the day, missing ones included, whatever their weight"),
    "squared_weight": (
        "DOUBLE",
        "sum of the rows' squared weights, row_count where they have none: (sum of weights)² / this are the effective rows",
    ),
    "null_count": ("DOUBLE", "rows where the value is NULL; this and the other counts are sums of weights where rows have one"),
    "nan_count": ("DOUBLE", "rows where the value is not a number (NaN)"),
    "infinite_count": ("DOUBLE", "rows where the value is infinite"),
    "minimum": ("DOUBLE", "smallest finite value, NULL for categories"),
    "maximum": ("DOUBLE", "largest finite value, NULL for categories"),
    "is_exact": ("BOOLEAN", "whether every bin is a single value; for categories whether all have their name"),
    "bins": ("DOUBLE[]", "numeric: lower edge of each bin that holds rows"),
    "uppers": (
        "DOUBLE[]",
        "numeric: upper edge, not part of the bin; the same as the lower one where the bin is that value only",
    ),
    "categories": ("VARCHAR[]", "categorical: the categories that hold rows, and buckets of rare ones, which start with U+001F"),
    "counts": ("DOUBLE[]", "rows per bin or category, in the same order"),
}

# The table of monitors whose rows are kept elsewhere (`rows`).
ROW_FILE_COLUMNS = {
    "day": ("DATE", "day of the rows"),
    "table_name": ("VARCHAR", "table whose rows they are: inference_log or quarantine"),
    "asset": ("VARCHAR", "asset that delivered them"),
    "path": ("VARCHAR", "the Parquet file, from the monitor's part of `rows.path` on"),
    "row_count": ("BIGINT", "its rows"),
    "size_bytes": ("BIGINT", "its size"),
    "file_columns": ("VARCHAR", "column as it is called today -> column of the file, as JSON"),
}

# Tables every monitor has, besides `inference_log` and the samples, whose columns are the monitor's own:
# name -> column -> (type, meaning).
TABLES: dict[str, dict[str, tuple[str, str]]] = {
    "warehouse_version": {
        "version": (
            "INTEGER",
            "version of the tables: a newer monitoring-assets upgrades an older one, never the other way",
        ),
    },
    "quarantine": {
        "day": ("DATE", "partition that delivered the row"),
        "asset": ("VARCHAR", "inference_log or labels"),
        "source": ("VARCHAR", "file the row came from, or the query or function and its day"),
        "reason": ("VARCHAR", "rule that was broken, with the column and the value"),
        "original": (
            "VARCHAR",
            "the row as delivered, as JSON, a broken line as a JSON text; NULL where no row could be read",
        ),
    },
    "deliveries": {
        "day": ("DATE", "partition"),
        "asset": ("VARCHAR", "inference_log or labels"),
        "delivered_rows": ("BIGINT", "rows the source held for the day = accepted + quarantined"),
        "accepted_rows": ("BIGINT", "rows stored in the table"),
        "quarantined_rows": ("BIGINT", "rows in quarantine"),
        "forgotten": ("BOOLEAN", "whether the day's raw rows were deleted since, by `retain_days`; the counts stay"),
        "unreadable": ("VARCHAR", "why the source could not be read; the stored day was then left as it was"),
        "sources": ("VARCHAR[]", "files the stored rows came from; the table of a lake, with the day, in which they lie"),
        "other_columns": ("VARCHAR[]", "columns of those files that the monitor does not ask for"),
        "refused_rules": (
            "VARCHAR[]",
            "where rows stay in a lake: the rules that refused rows broke, as many times as columns are named; quarantine then "
            "holds examples only. NULL where it holds every refused row",
        ),
        "refused_columns": ("VARCHAR[]", "beside each of those rules the column that broke it, NULL for the id"),
        "refused_counts": ("BIGINT[]", "beside each of those rules how many rows it refused"),
    },
    "arrivals": {
        "asset": ("VARCHAR", "inference_log or labels"),
        "path": ("VARCHAR", "file of the source"),
        "day": ("DATE", "day it is of, or holds rows of; NULL where it holds none, or cannot be read"),
        "size_bytes": ("BIGINT", "its size when it was last listed"),
        "modified_ns": ("BIGINT", "its modification time then, in ns since 1970"),
        "is_read": ("BOOLEAN", "whether the day has been read from it since; a failed attempt counts if the file is to blame"),
    },
    "serving": {
        "day": ("DATE", "day of the predictions; only monitors with `serving` have such rows"),
        "requests": ("DOUBLE", "requests that the logged rows stand for: the sum of their weights, or the rows"),
        "logged_rows": ("BIGINT", "rows of the day in inference_log"),
        "errors": ("BIGINT", "of which an error was logged"),
        "error_rate": ("DOUBLE", "share of the requests that ended in an error; NULL where errors are not logged"),
        "latency_p50_ms": ("DOUBLE", "latency that half of the requests did not exceed, in ms; NULL where it is not logged"),
        "latency_p95_ms": ("DOUBLE", "latency that 95 % of the requests did not exceed, in ms"),
        "latency_p99_ms": ("DOUBLE", "latency that 99 % of the requests did not exceed, in ms"),
        "dropped_rows": ("BIGINT", "rows the prediction logger could not keep on that day, by its own notes beside the log"),
    },
    "labels": {
        "day": ("DATE", "day of the prediction"),
        "prediction_id": ("VARCHAR", "id of the prediction in inference_log"),
        "label": ("DOUBLE", "ground truth; NULL where it will never be known"),
    },
    "profile_grids": {
        "feature": ("VARCHAR", "column"),
        "lowers": ("DOUBLE[]", "numeric: lower end of each range of cells, the whole range first; empty where counted by value"),
        "uppers": ("DOUBLE[]", "numeric: upper end of each range"),
        "scales": ("DOUBLE[]", "numeric: cells per unit of each range"),
        "atoms": ("DOUBLE[]", "numeric: further single values with a bin of their own"),
        "starts": ("INTEGER[]", "numeric: first cell of each bin"),
        "categories": ("VARCHAR[]", "categorical: the categories that keep their name on crowded days; NULL for numeric columns"),
        "bin_lower": ("DOUBLE", "lower edge of the bin this finer grid divides; NULL for the column's first grid"),
        "bin_upper": ("DOUBLE", "upper edge of that bin, not part of it"),
    },
    "daily_profile": PROFILE_COLUMNS,
    "baseline_profiles": {"baseline_id": ("VARCHAR", "baseline the day belongs to")} | PROFILE_COLUMNS,
    "baselines": {
        "baseline_id": ("VARCHAR", "digest of the baseline's content"),
        "sequence": ("INTEGER", "order of creation; of two that are valid the later counts"),
        "valid_from": ("DATE", "first day scored against it"),
        "first_day": ("DATE", "first day of its data"),
        "last_day": ("DATE", "last day of its data"),
        "row_count": ("BIGINT", "rows behind it"),
        "model_version": ("VARCHAR", "champion it belongs to, NULL before the first"),
        "metric": ("VARCHAR", "auc or rmse"),
        "metric_value": (
            "DOUBLE",
            "of the baseline's rows together: the champion's cross-validated one; in the first baseline that of the reference's "
            "own predictions, NULL while it has none, or too few labels",
        ),
    },
    "baseline_facts": {
        "baseline_id": ("VARCHAR", "baseline the day belongs to"),
        "day": ("DATE", "day of its data"),
        "fact": ("VARCHAR", "correlation (of two numeric features), or hours_before_end (from the last event to the day's end)"),
        "columns": ("VARCHAR[]", "the columns it is about"),
        "value": ("DOUBLE", "Pearson's r, or hours"),
        "row_count": ("BIGINT", "rows it was computed from"),
    },
    "thresholds": {
        "baseline_id": ("VARCHAR", "baseline it was calibrated from"),
        "settings_digest": ("VARCHAR", "identifies the settings it was calibrated for; those of other settings are not applied"),
        "segment": ("VARCHAR", "'column=value', or NULL for all rows"),
        "feature": ("VARCHAR", "column that is compared, or '(all features)'"),
        "method": ("VARCHAR", "method of drift_scores"),
        "window_days": ("INTEGER", "days in the window"),
        "reference": ("VARCHAR", "what the window is compared with: baseline, same_weekday or previous_window"),
        "reference_rows": ("BIGINT", "effective rows of the baseline: its rows, fewer where they are weighted"),
        "noise_rows": ("DOUBLE[]", "effective rows n N / (n + N), for each of which `noise` holds a value"),
        "noise": ("DOUBLE[]", "effect that sampling noise alone exceeds at the allowed rate"),
        "day_to_day": ("DOUBLE", "effect that the baseline's day-to-day variation exceeds at the allowed rate, at any rows"),
        "day_to_day_by_days": ("DOUBLE[]", "the same of windows in which only 1, 2, … window_days of the days have rows"),
        "over_dispersion": ("DOUBLE", "mean squared effect of the baseline's days left out, / what sampling alone gives"),
        "degrees": ("DOUBLE", "degrees of freedom of the day-to-day tail; low: rest on most days, far out on some"),
        "persistence": (
            "DOUBLE",
            "correlation of a day's level with the next day's, weekdays' own levels apart; 0 where none is seen",
        ),
        "effective_windows": ("DOUBLE", "independent windows the day-to-day part rests on, 0 where it is not estimated"),
        "confidence": ("VARCHAR", "how sure the threshold is, and why"),
    },
    "drift_scores": {
        "day": ("DATE", "last day of the window"),
        "window_days": ("INTEGER", "days in the window"),
        "segment": ("VARCHAR", "'column=value', or NULL for all rows"),
        "feature": ("VARCHAR", "column that was compared, or '(all features)'"),
        "reference": ("VARCHAR", "what the window is compared with: baseline, same_weekday or previous_window"),
        "method": ("VARCHAR", "psi, ks, js, wasserstein, chi2, missingness or another of `monitor_spec.Method`"),
        "score": ("DOUBLE", "value of the method, NaN where undefined"),
        "p_value": ("DOUBLE", "where the method has one"),
        "threshold": ("DOUBLE", "what the score must exceed to count as drifted"),
        "excess": ("DOUBLE", "how many times its threshold the change is, in effects: 1 at the threshold; NaN without one"),
        "severity": ("VARCHAR", "ok, minor, moderate or severe; NULL where there is no score or no threshold"),
        "change": (
            "VARCHAR",
            "beyond the threshold: missing, new category, shift, shape, or relation (of all features together)",
        ),
        "reference_rows": ("BIGINT", "rows of what it is compared with"),
        "current_rows": ("BIGINT", "rows of the window"),
        "current_days": ("INTEGER", "days of the window that have rows; fewer than window_days after a start, a gap, an outage"),
        "baseline_id": ("VARCHAR", "baseline in force on the day"),
        "score_error_bound": ("DOUBLE", "how far binning can have moved the score, 0 where it is exact"),
        "reason": ("VARCHAR", "why there is no score, or why it was not judged"),
        "detail": ("VARCHAR", "of all features together: what inside moved most; NULL for the score of one column"),
    },
    "drift_verdicts": {
        "day": ("DATE", "last day of the windows judged"),
        "severity": ("VARCHAR", "the worst of the day's scores of all rows; NULL where nothing could be judged"),
        "drifted_columns": (
            "INTEGER",
            "columns with a score beyond its threshold; '(all features)' counts as one, here and below",
        ),
        "scored_columns": ("INTEGER", "columns with any score"),
        "judged_columns": ("INTEGER", "columns with a score that has a threshold"),
        "columns": ("VARCHAR[]", "the columns that moved, the one furthest beyond its threshold first"),
        "unjudged": ("VARCHAR[]", "columns without a severity in any window, and windows in which no column has one"),
        "segment_severity": ("VARCHAR", "the worst of the day's scores beyond their thresholds in segments; NULL where none is"),
        "segments": ("VARCHAR[]", "the segments in which a column moved, worst first, as 'column=value'"),
        "reason": ("VARCHAR", "what moved and how, and what was not judged and why"),
    },
    "quality": {
        "day": ("DATE", "day of the rows"),
        "kind": ("VARCHAR", "not_null, in_range or another of `quality.expectations.Kind`; the Dagster check has its name"),
        "expectation": ("VARCHAR", "type of the expectation of Great Expectations that the rule is on that day"),
        "kwargs": (
            "VARCHAR",
            "its arguments as JSON, computed for the day's rows; of several severities the gravest that failed, else the mildest",
        ),
        "column_name": ("VARCHAR", "column it is about, two joined by ' ~ ' for a pair, NULL for the day as a whole"),
        "success": ("BOOLEAN", "whether the day meets it; NULL where it was not judged"),
        "severity": ("VARCHAR", "ok, minor, moderate or severe (Great Expectations' info, warning, critical); NULL: not judged"),
        "observed": ("DOUBLE", "share of unexpected values, or the rows, hours, correlation or statistic that was judged"),
        "expected": ("VARCHAR", "the rule in words"),
        "unexpected_count": ("BIGINT", "values that break the rule; of a rule about the whole day 1 where it is broken, else 0"),
        "unexpected_percent": (
            "DOUBLE",
            "the same, in percent of the column's values, missing ones aside; NULL of a rule about the whole day",
        ),
        "partial_unexpected_list": (
            "VARCHAR[]",
            "distinct unexpected values, most frequent first; of missing values the ids of their rows",
        ),
        "reason": ("VARCHAR", "why it was not judged on a day that has rows"),
        "baseline_id": ("VARCHAR", "baseline the rule was learnt from; NULL where there was none yet"),
    },
    "performance_counts": {
        "day": ("DATE", "day of the predictions"),
        "segment": ("VARCHAR", "'column=value', or NULL for all rows"),
        "model_version": ("VARCHAR", "model that predicted, as the log says; NULL where it does not"),
        "row_count": ("BIGINT", "predictions"),
        "labelled_rows": ("BIGINT", "of which the label is known"),
        "measured_rows": ("BIGINT", "of which the score is known too, and the weight above 0: the rows of all that follows"),
        "weight": ("DOUBLE", "sum of the rows' weights; this and the sums below count each row by its weight"),
        "squared_weight": ("DOUBLE", "sum of the squared weights: (sum of weights)² / this are the effective rows"),
        "log_loss": ("DOUBLE", "sum of -ln(probability that the score gave the label), in nats"),
        "true_positives": ("DOUBLE", "rows of label 1 predicted as class 1"),
        "false_positives": ("DOUBLE", "rows of label 0 predicted as class 1"),
        "false_negatives": ("DOUBLE", "rows of label 1 predicted as class 0"),
        "true_negatives": ("DOUBLE", "rows of label 0 predicted as class 0"),
        "signed_error": ("DOUBLE", "sum of prediction - label of a regression; here and below infinite where it was too large"),
        "absolute_error": ("DOUBLE", "sum of |prediction - label| of a regression"),
        "squared_error": ("DOUBLE", "sum of (prediction - label)², of a classification of (score - label)²"),
        "fourth_power_error": ("DOUBLE", "sum of (prediction - label)⁴ of a regression"),
        "relative_error": ("DOUBLE", "sum of |prediction - label| / |label| of a regression; infinite where a label is 0"),
        "squared_relative_error": ("DOUBLE", "sum of the squares of those ratios"),
        "label_mean": ("DOUBLE", "mean label of a regression"),
        "label_deviations": ("DOUBLE", "sum of (label - mean label)² of a regression"),
        "smallest_label": ("DOUBLE", "smallest label"),
        "largest_label": ("DOUBLE", "largest label"),
        "smallest_score": ("DOUBLE", "smallest score or predicted value"),
        "largest_score": ("DOUBLE", "largest score or predicted value"),
        "unreadable_class": ("VARCHAR", "a predicted class that is neither 0 nor 1, true nor false; NULL where there is none"),
        "score_lowers": ("DOUBLE[]", "smallest score of each cell of a classification's scores, in rising order"),
        "score_uppers": ("DOUBLE[]", "largest score of the cell; the same where it holds one score only"),
        "score_ones": ("DOUBLE[]", "weight of the cell's rows with label 1"),
        "score_zeros": ("DOUBLE[]", "weight of the cell's rows with label 0"),
    },
    "performance": {
        "day": ("DATE", "last day of the window"),
        "window_days": ("INTEGER", "days in the window"),
        "days_present": ("INTEGER", "of which predictions have labels that count"),
        "segment": ("VARCHAR", "'column=value', or NULL for all rows"),
        "model_version": ("VARCHAR", "model that predicted, as the log says; NULL for all of them together"),
        "metric": ("VARCHAR", "auc, accuracy, log_loss or another of `performance.metrics.METRICS`"),
        "value": ("DOUBLE", "of all rows of the window together; NaN where undefined"),
        "value_error_bound": ("DOUBLE", "how far binning may have moved the value, 0 where it is exact; NaN where undefined"),
        "lower": ("DOUBLE", "lower end of the value's 95 % interval, rows as independent draws; NaN where the metric has none"),
        "upper": ("DOUBLE", "its upper end"),
        "row_count": ("BIGINT", "predictions of the window"),
        "labelled_rows": ("BIGINT", "of which the label is known and counts"),
        "effective_rows": ("DOUBLE", "how many rows of equal weight would tell as much as the labelled ones"),
        "reason": ("VARCHAR", "why there is no value"),
    },
    "alerts": {
        "day": ("DATE", "day the finding is about"),
        "subject": ("VARCHAR", "drift or performance"),
        "severity": ("VARCHAR", "minor, moderate or severe"),
        "message": ("VARCHAR", "what was found"),
        "route": ("VARCHAR", "environment variable that names the receiver"),
        "delivered": ("BOOLEAN", "whether the receiver accepted it; if not, every later tick tries again"),
        "reason": ("VARCHAR", "why it was not delivered"),
    },
    "costs": {
        "day": ("DATE", "day that was worked on"),
        "asset": ("VARCHAR", "daily asset, or 'quality' for the checks of inference_log"),
        "seconds": ("DOUBLE", "what the newest run that did the day took, waiting for the file left out, divided by run_days"),
        "run_days": ("INTEGER", "days of that run"),
        "source_bytes": (
            "BIGINT",
            "size of the files delivered, a share of one with several days; NULL for queries and functions",
        ),
        "stored_rows": ("BIGINT", "rows of the day in the asset's table"),
        "stored_bytes": (
            "BIGINT",
            "estimate, after compression: blocks of the asset's table, and of those it fills beside it, shared out over rows",
        ),
    },
    "feature_changes": {
        "changed_at": ("TIMESTAMPTZ", "when the stored history was brought to the features the YAML declares"),
        "change": ("VARCHAR", "what was done to a feature, in a sentence"),
        "shown_by": ("VARCHAR", "asset whose materialisation was the first to show it; NULL until then"),
    },
    "retrain_decisions": {
        "decision_id": ("VARCHAR", "digest of the evidence"),
        "day": ("DATE", "newest day of the evidence"),
        "retrain": ("BOOLEAN", "whether a candidate was asked for"),
        "reason": ("VARCHAR", "why, or why not"),
        "evidence": ("VARCHAR", "what the policy saw, as JSON"),
        "candidate_version": ("VARCHAR", "registered model version that came of it"),
        "verdict": ("VARCHAR", "promoted or refused, NULL until the gate has spoken"),
        "verdict_reason": ("VARCHAR", "what the gate measured"),
    },
}

# How a table of an earlier version becomes today's, once it has today's columns: table -> (column by which the earlier one is
# recognised, statements).
UPGRADES: dict[str, tuple[str, tuple[str, ...]]] = {
    "quality": (
        "unexpected_share",
        (
            "UPDATE {table} SET unexpected_percent = 100 * unexpected_share, partial_unexpected_list = samples, "
            "success = severity = 'ok'",
            "ALTER TABLE {table} DROP COLUMN unexpected_share",
            "ALTER TABLE {table} DROP COLUMN samples",
        ),
    ),
}
# What rows that an earlier version stored have in a column added since, as SQL. Elsewhere it is NULL.
EARLIER_ROWS = {
    ("performance", "window_days"): "1",
    ("performance", "days_present"): "(labelled_rows > 0)::INTEGER",
    ("performance", "value_error_bound"): "CASE WHEN isnan(value) THEN 'NaN'::DOUBLE ELSE 0.0 END",
}


def tables_of(spec: MonitorSpec) -> dict[str, dict[str, tuple[str, str]]]:
    """All tables of a monitor, its own `inference_log` first: name -> column -> (DuckDB type, meaning)."""
    log = {"day": ("DATE", "day of the event in the monitor's time zone")}
    log |= {name: (kind, f"column {name!r} of the log") for name, kind in spec.log_columns.items()}
    files = {} if spec.rows is None else {"row_files": ROW_FILE_COLUMNS}
    return {"inference_log": log} | TABLES | _sample_tables(spec) | files


def _sample_tables(spec: MonitorSpec) -> dict[str, dict[str, tuple[str, str]]]:
    types = spec.log_columns
    sample = {
        "day": ("DATE", "day of the predictions, in the monitor's time zone"),
        "sample_key": (
            "DOUBLE",
            "-ln(hash of the id) / weight; each day keeps the rows with the smallest, and so do merged days",
        ),
    } | {name: (types[name], f"feature {name!r} of the row") for name in spec.features}
    if spec.sampling_weight:
        sample[spec.sampling_weight] = ("DOUBLE", "how many predictions the row stands for; NULL where it stands for itself")
    return {
        "daily_sample": sample,
        "baseline_sample": {"baseline_id": ("VARCHAR", "baseline the day belongs to")} | sample,
    }
