"""How far estimates of performance are from what the labels show, how often their intervals hold it, and what they cost.

Run `python -m benchmarks.estimates [NAMES]`, of the tables whose name holds one of NAMES (coverage, shift, nannyml, speed). It
prints the tables of docs/performance.md. The table `nannyml` reads the data inside NannyML's package, so it needs the
environment of `make bench`; where the package can be imported, its CBPE stands beside ours.
"""

import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monitoring_assets.performance import estimate, realised
from monitoring_assets.performance.calibration import LabelledScores
from monitoring_assets.performance.estimated import PredictedRows, cbpe, metrics_from
from monitoring_assets.performance.labelled_rows import realised_metrics
from monitoring_assets.performance.metrics import METRICS

ALL = METRICS["classification"]
SIZES = (10, 30, 100, 300, 1_000)
# Windows per size.
WINDOWS = 200
# Rows of a day.
DAY = 1_000
DAYS = 30

Array = np.ndarray
Estimator = Callable[[pd.DataFrame], pd.DataFrame]


def coverage() -> Iterator[str]:
    yield "| 95 % intervals hold, % of windows of … rows | " + " | ".join(f"{size:,}" for size in SIZES) + " | all |"
    yield "|---" * (len(SIZES) + 2) + "|"
    for name, reference in (("probabilities known", None), ("5,000 labelled rows", 5_000), ("1,000 labelled rows", 1_000)):
        held = _held(reference)
        for metric in ALL:
            shares = [100 * np.mean(held[metric, size]) for size in SIZES]
            every = 100 * np.mean([each for size in SIZES for each in held[metric, size]])
            yield f"| {name}: {metric} | " + " | ".join(f"{share:.1f}" for share in shares) + f" | {every:.1f} |"


def _held(reference: int | None) -> dict[tuple[str, int], list[bool]]:
    """Beta scores, a and b between 0.1 and 10, that are probabilities."""
    generator = np.random.default_rng(5)
    held: dict[tuple[str, int], list[bool]] = defaultdict(list)
    for window in range(WINDOWS):
        shape = generator.uniform(0.1, 10, 2)
        before = generator.beta(*shape, reference or 1)
        labelled = LabelledScores.of(before, generator.random(len(before)) < before)
        if reference and not (labelled.ones.sum() and labelled.zeros.sum()):
            continue
        for size in SIZES:
            scores = generator.beta(*shape, size)
            labels = (generator.random(size) < scores).astype(float)
            rows = PredictedRows.of(scores, scores >= 0.5)
            if reference:
                found = cbpe(labelled, rows, seed=window)
            else:
                found = metrics_from(rows.scores, rows.scores[None, :].repeat(2, 0), rows, ALL, np.random.default_rng(window))
            for metric, value in realised_metrics(labels, scores, None, "classification").items():
                if np.isfinite(value) and np.isfinite(found[metric].lower):
                    held[metric, size].append(found[metric].lower - 1e-9 <= value <= found[metric].upper + 1e-9)
    return held


def stream(rows: int, generator: np.random.Generator, shift: Array, is_hidden: bool) -> pd.DataFrame:
    """Five features whose means move by `shift`; the score is the probability of label 1, or where something is hidden from the
    model, the probability at the reference, given the other four."""
    x = generator.normal(shift, 1, (rows, 5))
    slopes = np.array([2.0, -2.0, 1.5, 1.0, 1.5])
    truth = 1 / (1 + np.exp(-x @ slopes))
    # A normal variable of standard deviation s beside a logit shrinks it by √(1 + πs² / 8) (MacKay 1992).
    shrunk = (x[:, :4] @ slopes[:4]) / np.sqrt(1 + np.pi * slopes[4] ** 2 / 8)
    score = 1 / (1 + np.exp(-shrunk)) if is_hidden else truth
    table = pd.DataFrame(x, columns=list("abcde"))
    return table.assign(score=score, label=(generator.random(rows) < truth).astype(int))


def shift() -> Iterator[str]:
    yield "| mean absolute error, days of 1,000 rows | method | accuracy | AUC | intervals hold | a sample's own noise |"
    yield "|---|---|---|---|---|---|"
    for name, is_hidden in (("inputs move, scores stay calibrated", False), ("inputs move, the calibration breaks", True)):
        generator = np.random.default_rng(6)
        reference = stream(30_000, generator, np.zeros(5), is_hidden)
        days = [stream(DAY, generator, generator.normal(0, 0.5, 5), is_hidden) for _ in range(DAYS)]
        for method in ("cbpe", "pape"):
            yield _errors(name, method, days, partial(_ours, reference, method))


PAIR = ["accuracy", "auc"]


def _ours(reference: pd.DataFrame, method: str, day: pd.DataFrame, **arguments: Any) -> pd.DataFrame:
    return estimate(reference, day, method=method, metrics=PAIR, **arguments)


def _errors(name: str, method: str, days: list[pd.DataFrame], estimated: Estimator, **columns: str) -> str:
    apart, held, noise = [], [], []
    for day in days:
        found, truth = estimated(day), realised(day, metrics=PAIR, **columns)
        apart.append(np.abs(found["value"] - truth["value"]))
        held.append((found["lower"] <= truth["value"]) & (truth["value"] <= found["upper"]))
        # The mean distance of a normal variable from its mean, from its 95 % interval.
        noise.append((truth["upper"] - truth["lower"]) / (2 * 1.96) * np.sqrt(2 / np.pi))
    errors, expected = np.mean(apart, axis=0), np.mean(noise, axis=0)
    share = f"{100 * np.mean(held):.0f} %" if "nannyml" not in method.lower() else "–"
    return f"| {name} | {method} | {errors[0]:.4f} | {errors[1]:.4f} | {share} | {expected[0]:.4f}, {expected[1]:.4f} |"


LOAN = {"score": "y_pred_proba", "prediction": "y_pred", "label": "repaid"}
CENSUS = {"score": "predicted_probability", "prediction": "prediction", "label": "employed"}


def nannyml() -> Iterator[str]:
    package = find_spec("nannyml")
    if package is None or package.origin is None:
        yield "nannyml is not installed; `make bench` installs it"
        return
    folder = Path(package.origin).parent / "datasets" / "data"
    loan = [pd.read_csv(folder / f"synthetic_car_loan_{name}.csv") for name in ("reference", "analysis", "analysis_target")]
    census = [pd.read_parquet(folder / f"employment_MA_{name}.pq") for name in ("reference", "analysis", "analysis_target")]
    yield "| mean absolute error, chunks of 5,000 rows | method | accuracy | AUC | intervals hold | a sample's own noise |"
    yield "|---|---|---|---|---|---|"
    for name, (reference, current, labels), columns in (("car loan", loan, LOAN), ("census", census, CENSUS)):
        table = current.merge(labels, on="id")
        chunks = [table[first : first + 5_000] for first in range(0, len(table) - 4_999, 5_000)]
        features = [column for column in reference.columns if column not in {*columns.values(), "id", "timestamp", "year"}]
        for method in ("cbpe", "pape"):
            began = time.process_time()
            line = _errors(name, method, chunks, partial(_ours, reference, method, features=features, **columns), **columns)
            print(f"{time.process_time() - began:.0f} CPU seconds", file=sys.stderr)
            yield line
        yield _errors(name, "NannyML's CBPE", chunks, _peer(reference, table, columns), **columns)


def _peer(reference: pd.DataFrame, table: pd.DataFrame, columns: dict[str, str]) -> Estimator:
    from benchmarks.peers.nannyml import estimated_metrics

    found = estimated_metrics(reference, table.drop(columns=columns["label"]), columns, ["accuracy", "roc_auc"], 5_000)

    def of_chunk(chunk: pd.DataFrame) -> pd.DataFrame:
        values = found[table.index.get_loc(chunk.index[0]) // 5_000]
        return pd.DataFrame({"value": values, "lower": np.nan, "upper": np.nan})

    return of_chunk


def speed() -> Iterator[str]:
    generator = np.random.default_rng(7)
    scores = generator.beta(0.5, 0.8, 1_000_000)
    table = pd.DataFrame({"score": scores, "label": generator.random(len(scores)) < scores})
    yield "| CPU seconds, all metrics, reference and current of … rows | cbpe | prior_shift |\n|---|---|---|"
    for rows in (10_000, 100_000, 1_000_000):
        seconds = []
        for method in ("cbpe", "prior_shift"):
            began = time.process_time()
            estimate(table[:rows], table[:rows].drop(columns="label"), method=method)
            seconds.append(time.process_time() - began)
        yield f"| {rows:,} | " + " | ".join(f"{second:.2f}" for second in seconds) + " |"


TABLES: dict[str, Callable[[], Iterator[str]]] = {"coverage": coverage, "shift": shift, "nannyml": nannyml, "speed": speed}


def main() -> None:
    warnings.filterwarnings("ignore")
    words = sys.argv[1:]
    for name, rows in TABLES.items():
        if not words or any(word in name for word in words):
            for row in rows():
                print(row, flush=True)
            print()


if __name__ == "__main__":
    main()
