"""The `roastery` command. A subcommand's module is imported when it is called: `--version` waits for nothing."""

import atexit
import gc
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli import FAILED, MISTAKE
from roastery import __version__
from roastery.errors import RoasteryError, UserError

COMMANDS = {
    "convert": "Convert one model: a config and a checkpoint to a folder with its Caffe2 model.",
    "up": "Start a Prefect server, an MLflow server and the deployments on this machine.",
    "run": "Convert registered models, measure them beside their originals, and file them.",
    "gc": "Show, then remove, artifacts that no registered version and no running flow needs.",
    "predict": "Run a converted model on images, and draw what it finds.",
    "register": "Register trained detectors in MLflow, as the source models that fleets convert.",
    "models": "List the models of the registry: verdict, AP, difference, age.",
    "show": "Show all that is known of a converted version.",
    "diff": "Show in what two converted versions of a model differ.",
    "fetch": "Fetch a converted model into a folder, verified.",
    "history": "Tell all that happened to a model.",
    "promote": "Give an alias to a version that passes its gate.",
    "rollback": "Give an alias back to the version that held it before.",
    "metrics": "Serve what the registry holds to Prometheus: verdicts, AP, ages.",
    "doctor": "Look at all that a conversion needs: what is there, what is wrong, and the way out.",
    "stage": "Run one stage of a conversion alone, on what it failed on.",
}
"""Each is the function of its name in `cli/<name>.py`, with its line of help."""


BRIEF = frozenset({"models", "show", "diff", "fetch", "history", "promote", "rollback"})
"""Commands that ask, answer and end. They do without Python's search for cycles, which takes a third of their time: a
thousand models are a million objects, all of them needed, and what they leave the operating system frees."""


class LazyCommands(TyperGroup):
    """A group whose commands are imported when they are looked up, and whose errors are one line."""

    # Typer's own copy of click is private: its contexts are `Any` here.
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        app = typer.Typer(add_completion=False)
        module = import_module(f"cli.{cmd_name}")
        function = getattr(module, cmd_name)
        settings = getattr(module, "CONTEXT_SETTINGS", {})
        app.command(cmd_name, help=function.__doc__ or COMMANDS[cmd_name], context_settings=settings)(function)
        return typer.main.get_command(app)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except RoasteryError as error:
            # A fault with a message of its own (a runtime that died, a store that did not answer) needs no traceback.
            print(f"roastery: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
            raise typer.Exit(MISTAKE if isinstance(error, UserError) else FAILED) from error


app = typer.Typer(cls=LazyCommands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"roastery {__version__}")
        raise typer.Exit


@app.callback()
def roastery(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say the version and end.")
    ] = False,
) -> None:
    """detectron2 models to Caffe2 and ONNX Runtime, measured."""


def main() -> None:
    """The console script."""
    if sys.argv[1:2] and sys.argv[1] in BRIEF:
        # Before anything is imported, which is most of it.
        gc.disable()
    # Python's last search for cycles, through all that Prefect and MLflow hold, takes most of a second and frees what
    # the operating system is about to.
    atexit.register(gc.freeze)
    app()


if __name__ == "__main__":
    main()
