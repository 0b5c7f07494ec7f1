"""The command `monitoring-assets`. Each subcommand parses, calls, prints; what it does is written elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

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


if __name__ == "__main__":
    app()
