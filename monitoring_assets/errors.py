"""What can go wrong, by name. A message says what was expected, what was found and the remedy.

`PermanentError`: trying again cannot help, somebody must act. `TransientError`: the same call may pass later, so Dagster
retries it. Decisions about retrying live in `orchestration/`, never here.
"""


class MonitoringError(Exception):
    """Base of every error this package raises on purpose."""


class PermanentError(MonitoringError):
    """Trying again cannot help."""


class TransientError(MonitoringError):
    """The same call may pass later."""


class WarehouseLocked(TransientError):
    """Another process holds the DuckDB file."""


class WarehouseUnusable(PermanentError):
    """The warehouse file is damaged or no warehouse, or the data folder cannot be used; or the database refuses."""


class WarehouseUnavailable(TransientError):
    """The server of the shared warehouse does not answer, or went away."""


class WarehouseChanged(TransientError):
    """What was about to be replaced in the shared warehouse was changed by another process since it was read."""


class WarehouseNewer(PermanentError):
    """The warehouse was written by a newer version of this package."""


class ScoringInterrupted(TransientError):
    """What days are scored from kept changing while they were scored."""


class MonitorUnknown(PermanentError):
    """No monitor of that name is declared."""


class SettingUnusable(PermanentError):
    """An environment variable holds what it cannot mean."""


class DagsterHomeMissing(PermanentError):
    """Runs need the user's Dagster instance, and nothing says where it is."""


class WarehouseMismatch(PermanentError):
    """What the warehouse holds and what the monitor declares contradict each other."""


class CopyRefused(PermanentError):
    """A warehouse cannot be copied as asked; the target is as it was."""


class CompactionFailed(PermanentError):
    """The warehouse could not be copied into a smaller file; it is as it was."""


class SourceUnreadable(PermanentError):
    """A log or label source is missing, corrupt, or lacks a column."""


class SourceUnavailable(TransientError):
    """A database or another service that holds the log or the labels does not answer."""


class EngineUnusable(PermanentError):
    """Spark cannot be used as configured: it is not installed, or an executor is not as it must be."""


class RowsChanged(PermanentError):
    """Rows of a lake's table are no longer those that `inference_log` has counted."""


class SourceChanged(TransientError):
    """A file changed while it was read."""


class StorageRefused(PermanentError):
    """An object store denies what was asked of it, or there is no such bucket."""


class StorageUnavailable(TransientError):
    """An object store does not answer."""


class ObjectGone(TransientError):
    """An object that was listed is not there any more."""


class ColumnUnusable(PermanentError):
    """A column to be profiled is missing, or of a type or content that its kind does not allow."""


class ComparisonImpossible(PermanentError):
    """Two tables cannot be compared as asked: no column in common, contradictory types, an unknown method."""


class EstimateImpossible(PermanentError):
    """Performance cannot be estimated from these rows: no labels or one class in the reference, scores that are no
    probabilities."""


class ExpectationUnusable(PermanentError):
    """A declared expectation is none of Great Expectations', or does not fit its arguments or its column."""


class NothingToExpect(PermanentError):
    """Expectations of a day were asked for, and no row of it is stored."""


class LoggerMisconfigured(PermanentError):
    """A prediction logger was given settings that contradict each other, or a monitor whose log it cannot write."""


class BaselineMissing(PermanentError):
    """Scoring needs a reference baseline and there is none."""


class ChampionMissing(PermanentError):
    """Serving or comparing needs a champion and none is registered."""


class RegistryUnavailable(TransientError):
    """The MLflow server that keeps the models does not answer."""


class RegistryUnusable(PermanentError):
    """The MLflow server that keeps the models refuses what is asked of it."""


class FunctionMissing(PermanentError):
    """A function that the YAML names by its dotted path cannot be imported."""


class NotEnoughLabels(PermanentError):
    """Training or gating needs more labelled rows than there are."""
