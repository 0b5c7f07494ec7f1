"""The command `monitoring-assets`. Each subcommand parses, calls and prints; the work is done elsewhere."""

import csv
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from monitoring_assets.errors import CompactionFailed, PermanentError, TransientError

if TYPE_CHECKING:
    from monitoring_assets.monitor_spec import MonitorSpec

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Keep machine-learning models in production healthy.",
)


@app.callback()
def main() -> None:
    """Keep machine-learning models in production healthy."""


@app.command()
def demo(
    ui: Annotated[bool, typer.Option("--ui/--no-ui", help="Serve the Dagster UI when the replay is done.")] = True,
    json: Annotated[Path | None, typer.Option(help="Also write the summary to this file.")] = None,
    fresh: Annotated[bool, typer.Option(help="Delete what an earlier demo left, and start again.")] = False,
    port: Annotated[int, typer.Option(help="Port of the UI on 127.0.0.1.")] = 3000,
) -> None:
    """Replay a year of real flights through the whole loop, then look at it in the Dagster UI."""
    from monitoring_assets.demo.show import run_demo

    with _errors_as_messages():
        run_demo(serve_ui=ui, summary_path=json, fresh=fresh, port=port)


@app.command()
def drift(
    reference: Annotated[str, typer.Argument(help="Parquet, CSV or JSON lines file, or a quoted pattern: 'march/*.parquet'.")],
    current: Annotated[str, typer.Argument(help="The same, for the rows to judge.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also write a page with the distributions to this file.")] = None,
    features: Annotated[
        list[str] | None, typer.Option(help="Columns to compare, a,b,c; default: all in common but ids and timestamps.")
    ] = None,
    categorical: Annotated[list[str] | None, typer.Option(help="Columns to treat as categories, such as codes.")] = None,
    methods: Annotated[list[str] | None, typer.Option(help="Such as psi,ks,js,wasserstein,chi2,missingness.")] = None,
    false_alarm_rate: Annotated[float, typer.Option(help="Share of quiet comparisons that may alarm.")] = 0.01,
    weight: Annotated[str | None, typer.Option(help="Column with the number of rows each row stands for.")] = None,
) -> None:
    """Compare two tables: has the second drifted from the first?

    Exit status 0: quiet. 1: drifted, also where a column is gone or new. 2: nothing could be judged, or an error.
    """
    with _errors_as_messages(exit_code=2):
        from monitoring_assets.comparison.compare import Options, drift_report
        from monitoring_assets.comparison.page import write_page
        from monitoring_assets.comparison.terminal import as_json, print_report, shown_progress

        options = Options(_names(features), _names(categorical) or (), _names(methods), false_alarm_rate, weight)
        report = drift_report(reference, current, options, shown_progress)
        if html:
            write_page(html, report)
        if json:
            typer.echo(as_json(report))
        else:
            print_report(report)
    raise typer.Exit(2 if not report.is_judged else 1 if report.drifted else 0)


@app.command()
def performance(
    reference: Annotated[str, typer.Argument(help="Rows with labels: Parquet, CSV or JSON lines file, or a quoted pattern.")],
    current: Annotated[str, typer.Argument(help="The rows whose labels are missing.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    method: Annotated[
        Literal["cbpe", "pape", "prior_shift", "dle"], typer.Option(help="How to estimate; dle is for regressions.")
    ] = "cbpe",
    score: Annotated[str, typer.Option(help="Column of the probability of class 1; of a regression the prediction.")] = "score",
    prediction: Annotated[str | None, typer.Option(help="Column of the predicted class; default: score 0.5 or more.")] = None,
    label: Annotated[str, typer.Option(help="Column of the label.")] = "label",
    features: Annotated[list[str] | None, typer.Option(help="For pape and dle, a,b,c; default: all in common but ids.")] = None,
    metrics: Annotated[list[str] | None, typer.Option(help="Such as auc,accuracy,f1; default: all.")] = None,
) -> None:
    """Estimate how good a model is on rows without labels, and compare it with the reference.

    Exit status 0: not worse. 1: worse, by an interval beyond the reference's. 2: nothing could be estimated, or an error.
    """
    with _errors_as_messages(exit_code=2):
        from monitoring_assets.comparison.performance import Options, performance_report
        from monitoring_assets.comparison.performance_terminal import as_json, print_performance

        options = Options(score, prediction, label, _names(features), _names(metrics), method)
        report = performance_report(reference, current, options)
        if json:
            typer.echo(as_json(report))
        else:
            print_performance(report)
    raise typer.Exit(2 if not report.is_judged else 1 if report.worse else 0)


def _names(given: list[str] | None) -> list[str] | None:
    """Comma-separated names, optionally in double quotes; the option may be repeated."""
    return [name for part in csv.reader(given) for name in part] if given else None


@contextmanager
def _errors_as_messages(exit_code: int = 1) -> Iterator[None]:
    """An error of ours is a message and an exit code; a traceback would hide the remedy."""
    try:
        yield
    except (PermanentError, TransientError) as error:
        typer.secho(f"{type(error).__name__}: {error}", fg="red", err=True)
        raise typer.Exit(exit_code) from None
    except Exception:
        # Python's own exit status for a bug is 1, which for `drift` would say "drifted".
        if exit_code == 1:
            raise
        traceback.print_exc()
        raise typer.Exit(exit_code) from None


@app.command()
def quarantine(
    name: Annotated[str, typer.Argument(help="The monitor's name.")],
    day: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only this day.")] = None,
    asset: Annotated[Literal["inference_log", "labels"] | None, typer.Option(help="Only rows of this asset.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only rows whose reason holds this text.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many rows to show as examples.")] = 10,
    replay: Annotated[bool, typer.Option("--replay", help="Read the days concerned again, as Dagster runs.")] = False,
) -> None:
    """List the rows a monitor refused, with their reasons; --replay reads their days again once the source is fixed."""
    from monitoring_assets.components.code_location import load_monitor
    from monitoring_assets.ingestion.quarantine import Chosen, as_delivered, examples, refused
    from monitoring_assets.orchestration.resources import MONITORING_HOME

    with _errors_as_messages():
        spec, definitions = load_monitor(name)
        chosen = Chosen(day.date() if day else None, asset, reason)
        with MONITORING_HOME.connect(spec) as connection:
            counts, rows = refused(connection, spec, chosen), examples(connection, spec, chosen, limit)
        for count in counts:
            typer.echo(f"{count.day}  {count.asset:13}  {count.rows:8}  {count.rule}")
        typer.echo(f"{sum(count.rows for count in counts)} rows of {name} in quarantine")
        for row in rows:
            typer.echo(as_delivered(row))
        if replay:
            from monitoring_assets.orchestration.reingestion import reingest

            for line in reingest(spec, definitions, chosen):
                typer.echo(line)


@app.command()
def expectations(
    name: Annotated[str, typer.Argument(help="The monitor's name.")],
    day: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day; the newest stored unless given.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the suite to this file instead of printing it.")] = None,
    run: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Let Great Expectations evaluate the suite of this day on the day's rows."),
    ] = None,
) -> None:
    """Export what a monitor expects of a day as a Great Expectations suite in JSON, or --run it on the day's rows.

    Exit status of --run 0: all expectations hold. 1: some fail, or an error.
    """
    import json

    from monitoring_assets.components.code_location import load_monitor
    from monitoring_assets.orchestration.resources import MONITORING_HOME
    from monitoring_assets.quality.suites import as_lines, day_suite, run_suite

    with _errors_as_messages():
        spec, _ = load_monitor(name)
        with MONITORING_HOME.connect(spec) as connection:
            chosen = run or day
            suite = day_suite(connection, spec, chosen.date() if chosen else None)
            found = run_suite(connection, spec, suite) if run else []
        written = json.dumps(suite, indent=2, ensure_ascii=False)
        if output:
            output.write_text(written + "\n", encoding="utf-8")
        elif not run:
            typer.echo(written)
        for line in as_lines(found):
            typer.echo(line)
    if not all(outcome.success for outcome in found):
        raise typer.Exit(1)


@app.command()
def costs(name: Annotated[str, typer.Argument(help="The monitor's name.")]) -> None:
    """Report what a monitor costs by month: rows, bytes, seconds; what sampling saves and what retention would free."""
    from monitoring_assets.components.code_location import load_monitor
    from monitoring_assets.orchestration.resources import MONITORING_HOME
    from monitoring_assets.reporting.costs_terminal import as_lines
    from monitoring_assets.retention.costs import cost_report

    with _errors_as_messages():
        spec, _ = load_monitor(name)
        with MONITORING_HOME.connect(spec) as connection:
            report = cost_report(connection, spec)
        for line in as_lines(report, spec.retain_days):
            typer.echo(line)


@app.command()
def compact() -> None:
    """Give the space of deleted rows back to the disk, and remove files of rows (`rows`) that killed runs left behind.

    Runs that need the warehouse wait meanwhile.
    """
    from monitoring_assets.chosen_warehouse import all_warehouses
    from monitoring_assets.components.code_location import load_specs
    from monitoring_assets.orchestration.resources import MONITORING_HOME
    from monitoring_assets.reporting.costs_terminal import size
    from monitoring_assets.retention import compaction
    from monitoring_assets.warehouse import Warehouse

    with _errors_as_messages():
        stored_in = all_warehouses(MONITORING_HOME.folder)
        if not stored_in:
            raise CompactionFailed(f"there is no warehouse in {MONITORING_HOME.folder}")
        specs = [spec for spec in load_specs() if spec.rows is not None]
        for spec in specs:
            _remove_orphans(spec)
        for stored in stored_in:
            if specs and not isinstance(stored, Warehouse):
                continue  # a database needs none
            done = compaction.compact(stored)
            typer.echo(f"{done.path}: {size(done.before)} before, {size(done.after)} now")


def _remove_orphans(spec: "MonitorSpec") -> None:
    from monitoring_assets.orchestration.resources import MONITORING_HOME
    from monitoring_assets.row_storage.kept_rows import remove_orphans
    from monitoring_assets.warehouse import Scope

    with MONITORING_HOME.connect(spec, Scope(spec.name, rows=())) as connection:
        removed = remove_orphans(connection)
    where = spec.rows.path if spec.rows else ""
    typer.echo(f"{spec.name}: {removed} files of rows that no day has were removed from {where}")


warehouse_app = typer.Typer(no_args_is_help=True, help="Move the warehouse between the DuckDB file and PostgreSQL.")
app.add_typer(warehouse_app, name="warehouse")


@warehouse_app.callback()
def warehouse() -> None:
    """Move the warehouse between the DuckDB file and PostgreSQL."""


@warehouse_app.command("copy")
def copy_warehouse(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="Path of a DuckDB file, or variable with a postgresql:// address.")
    ],
    target: Annotated[str, typer.Argument(metavar="TO", help="The other of the two.")],
    replace: Annotated[bool, typer.Option("--replace", help="Delete what the target holds of these monitors.")] = False,
) -> None:
    """Copy all monitors from the file into the database, or back. Runs that write meanwhile wait, or are not copied."""
    from monitoring_assets.shared_warehouse import copying

    with _errors_as_messages():
        copying.copy_warehouse(source, target, replace=replace, report=typer.echo)


@warehouse_app.command("split")
def split_warehouse() -> None:
    """Copy each monitor of the data folder's one file into a file of its own; the one file stays as it was.

    Stop Dagster's daemon first, and start it again with MONITORING_ASSETS_WAREHOUSE=file-per-monitor.
    """
    from monitoring_assets.orchestration.resources import MONITORING_HOME
    from monitoring_assets.shared_warehouse.splitting import split_file

    with _errors_as_messages():
        split_file(MONITORING_HOME.folder / "warehouse.duckdb", MONITORING_HOME.folder / "warehouses", typer.echo)


if __name__ == "__main__":
    app()
