"""The command `monitoring-assets`. Each subcommand parses, calls, prints; what it does is written elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from monitoring_assets.errors import PermanentError, TransientError

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
    fresh: Annotated[bool, typer.Option(help="Forget what an earlier demo left, and start again.")] = False,
    port: Annotated[int, typer.Option(help="Port of the UI on 127.0.0.1.")] = 3000,
) -> None:
    """Replay a year of real flights through the whole loop, then look at it in the Dagster UI."""
    from monitoring_assets.demo.show import run_demo

    with _told():
        run_demo(serve_ui=ui, summary_path=json, fresh=fresh, port=port)


@contextmanager
def _told() -> Iterator[None]:
    """An error of ours is a message and exit code 1; a traceback would hide the remedy."""
    try:
        yield
    except (PermanentError, TransientError) as error:
        typer.secho(f"{type(error).__name__}: {error}", fg="red", err=True)
        raise typer.Exit(1) from None


@app.command()
def quarantine(
    name: Annotated[str, typer.Argument(help="The monitor's name.")],
    day: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only this day.")] = None,
    asset: Annotated[Literal["inference_log", "labels"] | None, typer.Option(help="Only rows of this asset.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only rows whose reason holds this text.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many rows to show as examples.")] = 10,
    replay: Annotated[bool, typer.Option("--replay", help="Read the days concerned again, as Dagster runs.")] = False,
) -> None:
    """List the rows a monitor refused, with their reasons; --replay reads their days again once the source is mended."""
    from monitoring_assets.ingestion.quarantine import Chosen, examples, refused, shortened
    from monitoring_assets.orchestration.live import load_monitor
    from monitoring_assets.orchestration.resources import MONITORING_HOME

    with _told():
        spec, definitions = load_monitor(name)
        chosen = Chosen(day.date() if day else None, asset, reason)
        with MONITORING_HOME.connect(spec) as connection:
            counts, rows = refused(connection, spec, chosen), examples(connection, spec, chosen, limit)
        for count in counts:
            typer.echo(f"{count.day}  {count.asset:13}  {count.rows:8}  {count.rule}")
        typer.echo(f"{sum(count.rows for count in counts)} rows of {name} in quarantine")
        for row in rows:
            typer.echo(
                f"\n{row.day} {row.asset}, {shortened(row.source)}\n  {shortened(row.reason)}\n  {shortened(row.original)}"
            )
        if replay:
            from monitoring_assets.orchestration.reingestion import reingest

            for told in reingest(spec, definitions, chosen):
                typer.echo(told)


if __name__ == "__main__":
    app()
