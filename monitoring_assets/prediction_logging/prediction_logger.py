"""What a serving process calls to log its predictions as the Parquet segments that a monitor reads.

Which predictions are kept, under which names, and with which weight is decided here; rows wait and are written in
`segment_buffer.py`. Nothing raises into serving, and what could not be kept is counted.
"""

import functools
import inspect
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar
from zoneinfo import ZoneInfo

from monitoring_assets.errors import LoggerMisconfigured
from monitoring_assets.prediction_logging.segment_buffer import LoggerStats, SegmentBuffer, error_text

if TYPE_CHECKING:
    from monitoring_assets.monitor_spec import MonitorSpec
    from monitoring_assets.prediction_logging.segments import Kind, RowConverter

_Predict = TypeVar("_Predict", bound=Callable[..., Any])

# Says of a prediction, by its features and its score (None for an error), whether it is always logged.
Condition = Callable[[Mapping[str, Any], Any], bool]

# Of a path in `log.path`, what the logger's own layout of folders fits.
_LAYOUT = re.compile(r"(?P<root>.+)/(day=\{day\}|day=\*|\*|\*\*)/\*\.parquet")


def low_confidence(margin: float = 0.1) -> Condition:
    """The score is within `margin` of 0.5.

    >>> low_confidence(0.1)({}, 0.45), low_confidence(0.1)({}, 0.7)
    (True, False)
    """
    return lambda features, score: score is not None and bool(abs(score - 0.5) <= margin)


def high_risk(threshold: float = 0.9) -> Condition:
    """The score is at least `threshold`.

    >>> high_risk(0.9)({}, 0.95), high_risk(0.9)({}, None)
    (True, False)
    """
    return lambda features, score: score is not None and bool(score >= threshold)


class PredictionLogger:
    """Logs predictions to `<root>/day=YYYY-MM-DD/*.parquet`, from any number of threads and processes.

    Parameters
    ----------
    root
        Folder of the log; made where it does not exist. The monitor's `log.path` is then `<root>/day={day}/*.parquet`.
    columns
        Feature -> "numeric" or "categorical". Features that are not named are not written.
    id, event_time, score, predicted_class, model_version, latency_ms, error, sampling_weight
        Names of the other columns; None leaves one of the optional ones out.
    time_zone
        IANA name; in it a day is a day, and a time without a zone is local.
    sampling_rate
        Share of predictions to log, above 0 and at most 1. A logged row stands for `sampling_weight` = 1 / rate predictions.
    always_log
        Conditions under which a prediction is logged whatever the rate, with weight 1. Errors always are.
    buffer_rows
        Rows that may wait for the disk; further ones are dropped, and counted. About 1 kB a row with ten features.
    flush_rows, flush_seconds
        A segment is written when so many rows wait, or so much time has passed since the last one.

    Raises
    ------
    LoggerMisconfigured
        By the constructor only. Afterwards nothing raises: see `stats`.

    Notes
    -----
    At a clean exit everything is written, with or without `close`. A process killed by a signal it does not handle loses the
    rows in its buffer: at most those of the last `flush_seconds`. Forked children have a buffer of their own.
    While the disk is full or gone, rows wait and writing is tried again every `flush_seconds`; rows beyond `buffer_rows` are
    dropped, and once the disk is back a note of how many per day is left beside the segments.
    A row whose values do not fit its columns is written as text into a segment of its own; the monitor's contract judges it.

    Examples
    --------
    >>> import tempfile, pyarrow.dataset as ds
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with PredictionLogger(folder, {"amount": "numeric", "country": "categorical"}) as logger:
    ...         key = logger.log({"amount": 12.5, "country": "DE"}, score=0.8, at=0)
    ...     ds.dataset(folder, format="parquet", partitioning="hive").to_table(columns=["day", "score"]).to_pylist()
    [{'day': '1970-01-01', 'score': 0.8}]
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        columns: Mapping[str, Literal["numeric", "categorical"]],
        *,
        id: str = "prediction_id",  # noqa: A002
        event_time: str = "at",
        score: str = "score",
        predicted_class: str | None = "predicted_class",
        model_version: str | None = "model_version",
        latency_ms: str | None = "latency_ms",
        error: str | None = "error",
        sampling_weight: str = "sampling_weight",
        time_zone: str = "UTC",
        sampling_rate: float = 1.0,
        always_log: Sequence[Condition] = (),
        buffer_rows: int = 50_000,
        flush_rows: int = 10_000,
        flush_seconds: float = 10.0,
    ) -> None:
        names = {
            id: "categorical", event_time: "time", score: "numeric", predicted_class: "categorical",
            model_version: "categorical", latency_ms: "numeric", error: "categorical", sampling_weight: "numeric",
        }  # fmt: skip
        roles = {name: kind for name, kind in names.items() if name is not None}
        given = [n for n in (id, event_time, score, predicted_class, model_version, latency_ms, error, sampling_weight) if n]
        _check_columns(given, columns)
        _check_numbers(sampling_rate, buffer_rows, flush_rows, flush_seconds)
        self.root, self.sampling_rate, self.always_log = Path(root), sampling_rate, tuple(always_log)
        self._roles: tuple[Any, ...] = (id, event_time, score, predicted_class, model_version, latency_ms, error, sampling_weight)
        converter = _converter({**roles, **columns}, event_time, time_zone)  # type: ignore[dict-item]
        self._buffer = SegmentBuffer(self.root, converter, buffer_rows, flush_rows, flush_seconds)

    @classmethod
    def for_monitor(
        cls, monitor: "MonitorSpec | str | os.PathLike[str]", home: str | os.PathLike[str] | None = None, **settings: Any
    ) -> Self:
        """A logger whose folder, columns and names are the monitor's.

        `monitor` is a spec or the path of its `defs.yaml`; relative paths start at `home`, by default `MONITORING_ASSETS_HOME` or
        `data`; `settings` are the constructor's (rate, conditions, buffer).

        Raises
        ------
        LoggerMisconfigured
            When the monitor does not read a folder per day, or not the weights of a sample, or a feature has the name of a column
            the logger adds; or when pydantic or pyyaml is missing, which only this way of making a logger needs.
        """
        try:
            import yaml  # noqa: F401

            from monitoring_assets.monitor_spec import MonitorSpec
        except ImportError as error:
            raise LoggerMisconfigured(
                f"reading a monitor's YAML needs a package that is not installed ({error}). Run `pip install pydantic pyyaml`, "
                "or give folder and columns yourself: PredictionLogger(folder, columns, ...)"
            ) from None
        spec = monitor if isinstance(monitor, MonitorSpec) else _spec_from_yaml(Path(monitor))
        layout = _LAYOUT.fullmatch(spec.log.path or "")
        if layout is None or "{" in layout["root"] or "://" in layout["root"]:
            raise LoggerMisconfigured(
                f"{spec.name}: the logger writes a folder per day, and log.path is {spec.log.path!r}. "
                "Write it as FOLDER/day={day}/*.parquet"
            )
        if spec.sampling_weight is None and settings.get("sampling_rate", 1) != 1:
            raise LoggerMisconfigured(
                f"{spec.name}: a log that is sampled needs its weights read, or drift and error rates are wrong. "
                "Add `sampling_weight: sampling_weight` to the monitor, or log everything"
            )
        at_home = spec.at_home(Path(home or os.environ.get("MONITORING_ASSETS_HOME") or "data"))
        prediction, serving = spec.prediction, spec.serving
        return cls(
            at_home.resolve(layout["root"]),
            {name: feature.kind for name, feature in spec.features.items()},
            id=spec.id,
            event_time=spec.event_time,
            score=prediction.column,
            predicted_class=prediction.predicted_class,
            model_version=prediction.model_version,
            latency_ms=(serving and serving.latency_ms) or "latency_ms",
            error=(serving and serving.error) or "error",
            sampling_weight=spec.sampling_weight or "sampling_weight",
            time_zone=spec.time_zone,
            **settings,
        )

    def log(
        self,
        features: Mapping[str, Any],
        score: Any = None,
        *,
        predicted_class: Any = None,
        model_version: Any = None,
        prediction_id: Any = None,
        at: Any = None,
        latency_ms: float | None = None,
        error: str | None = None,
    ) -> str:
        """Log one prediction, and give its id, by which its label is delivered later.

        `score` is what the model said: a probability, or the value of a regression. `at` is a datetime or seconds since 1970, now
        if not given. `latency_ms` is how long the prediction took, `error` why there is none. Microseconds; it never waits for
        the disk.
        """
        identifier = str(uuid.uuid4()) if prediction_id is None else str(prediction_id)
        try:
            weight = self._weight(features, score, error)
            if weight is None:
                self._buffer.leave_out()
                return identifier
            moment = time.time() if at is None else at
            values = (identifier, moment, score, predicted_class, model_version, latency_ms, error, weight)
            # A role without a column stands under None here, and only named columns are written.
            self._buffer.append({**features, **dict(zip(self._roles, values, strict=True))})
        except Exception as problem:  # whatever it is, the prediction must be served
            self._buffer.drop(problem)
        return identifier

    async def log_async(self, features: Mapping[str, Any], score: Any = None, **prediction: Any) -> str:
        """`log`, for code that awaits it. It does not block the event loop, for `log` waits for nothing."""
        return self.log(features, score, **prediction)

    def observe(self, predict: _Predict) -> _Predict:
        """Decorate a function, sync or async, so that its predictions are logged with their latency, and its errors.

        The features are its first argument that is a mapping. It returns the score, or a mapping with `score` (or `value`) and
        whatever else `log` takes by name. What it raises is logged, and raised.
        """

        def start() -> tuple[float, int]:
            return time.time(), time.perf_counter_ns()

        if inspect.iscoroutinefunction(predict):

            @functools.wraps(predict)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                started = start()
                try:
                    result = await predict(*args, **kwargs)
                except BaseException as problem:  # a cancelled request has no prediction either
                    self._observed(started, args, kwargs, None, problem)
                    raise
                self._observed(started, args, kwargs, result, None)
                return result

            return awaited  # type: ignore[return-value]

        @functools.wraps(predict)
        def called(*args: Any, **kwargs: Any) -> Any:
            started = start()
            try:
                result = predict(*args, **kwargs)
            except BaseException as problem:
                self._observed(started, args, kwargs, None, problem)
                raise
            self._observed(started, args, kwargs, result, None)
            return result

        return called  # type: ignore[return-value]

    def _observed(
        self,
        started: tuple[float, int],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        result: Any,
        problem: BaseException | None,
    ) -> None:
        try:
            row: dict[str, Any] = {"at": started[0], "latency_ms": (time.perf_counter_ns() - started[1]) / 1e6}
            features = next((value for value in (*args, *kwargs.values()) if isinstance(value, Mapping)), None)
            if features is None:
                raise TypeError("a predict function takes its features as a mapping; none was among the arguments")
            if problem is not None:
                row["error"] = error_text(problem)
            elif isinstance(result, Mapping):
                row |= {name: result[name] for name in _RESULT_NAMES & result.keys()}
                row["score"] = result.get("score", result.get("value"))
            else:
                row["score"] = result
            self.log(features, **row)
        except Exception as unlogged:
            self._buffer.drop(unlogged)

    @property
    def stats(self) -> LoggerStats:
        """Counts of this process's predictions so far: logged, sampled out, dropped, waiting."""
        return self._buffer.stats

    def flush(self) -> bool:
        """Write what waits, now, and say whether all of it is on disk."""
        return self._buffer.flush()

    def close(self) -> None:
        """Write what waits and stop. Later predictions are dropped, and so is what the disk does not take now."""
        self._buffer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _weight(self, features: Mapping[str, Any], score: Any, error: str | None) -> float | None:
        """How many predictions the row stands for, None if it is not sampled."""
        if self.sampling_rate == 1 or error is not None:
            return 1.0
        for condition in self.always_log:
            try:
                if condition(features, score):
                    return 1.0
            except Exception as problem:
                self._buffer.note(problem)
        return 1 / self.sampling_rate if random.random() < self.sampling_rate else None  # noqa: S311


_RESULT_NAMES = {"predicted_class", "model_version", "prediction_id", "at", "latency_ms", "error"}


def _converter(kinds: Mapping[str, "Kind"], event_time: str, time_zone: str) -> "RowConverter":
    """Loads pyarrow, now rather than when the first rows are flushed, for importing keeps every other thread waiting."""
    from monitoring_assets.prediction_logging.segments import RowConverter

    try:
        zone = ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError):
        raise LoggerMisconfigured(f"time_zone {time_zone!r} is unknown; use an IANA name such as UTC") from None
    return RowConverter(kinds, event_time, zone)


def _check_columns(roles: Sequence[str], columns: Mapping[str, str]) -> None:
    for name, kind in columns.items():
        if kind not in ("numeric", "categorical"):
            raise LoggerMisconfigured(f"columns: {name!r} is numeric or categorical, found {kind!r}")
    folded = [name.casefold() for name in (*roles, *columns)]
    twice = sorted({name for name in folded if folded.count(name) > 1})
    if twice:
        raise LoggerMisconfigured(
            f"column {', '.join(map(repr, twice))} has two roles; rename the logger's own (latency_ms=, error=, "
            "sampling_weight=, ...), in a monitor with `serving: { latency_ms: ..., error: ... }`"
        )
    if "day" in folded:
        raise LoggerMisconfigured("a column may not be called 'day': the folders are; rename it")


def _check_numbers(sampling_rate: float, buffer_rows: int, flush_rows: int, flush_seconds: float) -> None:
    if not 0 < sampling_rate <= 1:
        raise LoggerMisconfigured(f"sampling_rate is above 0 and at most 1, found {sampling_rate}")
    if not 1 <= flush_rows <= buffer_rows:
        raise LoggerMisconfigured(f"flush_rows is at least 1 and at most buffer_rows {buffer_rows}, found {flush_rows}")
    if not flush_seconds > 0:
        raise LoggerMisconfigured(f"flush_seconds is above 0, found {flush_seconds}")


def _spec_from_yaml(path: Path) -> "MonitorSpec":
    import yaml

    from monitoring_assets.monitor_spec import MonitorSpec
    from monitoring_assets.monitor_spec.yaml_keys import repeated_keys

    def environment(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise LoggerMisconfigured(f"{path} reads the environment variable {found[1]}, which is not set")
        return os.environ[found[1]]

    repeated = repeated_keys(path.read_text(encoding="utf-8"))
    if repeated:
        raise LoggerMisconfigured(f"{path}:{repeated[0].line}, {repeated[0]}")
    content = yaml.safe_load(re.sub(r"\{\{\s*env\.(\w+)\s*\}\}", environment, path.read_text(encoding="utf-8")))
    return MonitorSpec.model_validate(content.get("attributes", content))
