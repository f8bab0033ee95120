"""`autosearch`: the command line. Nothing heavy is imported before a command needs it."""

import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from autosearch import __version__
from autosearch.cli import inspecting, managing, running, showing
from autosearch.cli.output import Exit, error, out

app = typer.Typer(
    name="autosearch",
    help="AutoML for PyTorch: one study file in, the best configuration out.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for register in (running.register, inspecting.register, showing.register, managing.register):
    register(app)


def _version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        out(f"autosearch {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    # At the end, so that a user's `random.py` or `tasks.py` shadows nothing of ours.
    sys.path.append(str(Path.cwd()))
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code. Errors are one line each on stderr, without traceback."""
    try:
        result = app(arguments, prog_name="autosearch", standalone_mode=False)
    except TyperException as fault:
        # Usage errors know how to print themselves with the command's usage line.
        show = getattr(fault, "show", None)
        if show is None:
            return error(fault)
        show()
        return Exit.BAD_INPUT
    except (Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has gone; what it wanted, it got.
        sys.stderr.close()
        return Exit.DONE
    except Exception as fault:  # noqa: BLE001 - the last line of defence
        from autosearch.space import AutosearchError

        if isinstance(fault, AutosearchError):
            return error(fault)
        # Every other fault is a bug of ours.
        traceback.print_exc()
        print("autosearch: internal fault; finished trials are safe in the record.", file=sys.stderr)  # noqa: T201
        return Exit.FAULT
    return int(result) if isinstance(result, int) else Exit.DONE


if __name__ == "__main__":
    main()
