"""The command line: names the commands of `scaling.commands`, and turns mistakes into one line and a code."""

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from scaling import __version__
from scaling.api.progress import say
from scaling.commands import cost, data, figures, laws, preparation, runs, weights
from scaling.runtime.environment import choose_platform, tune_allocator
from scaling.runtime.errors import BadInputError, StorageError

# Quiet C++ start-up notices of the libraries below; a person's own setting wins.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

_ClickError: Any = typer.BadParameter.__mro__[2]  # click's ClickException, from wherever typer keeps click

_HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}  # commands inherit them

app = typer.Typer(
    help="A laboratory for scaling language models: what they cost, how they train, which law they obey.",
    invoke_without_command=True,
    context_settings=_HELP_OPTIONS,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(
    help="Describe corpora, train tokenizers for them, and prepare them for training.",
    invoke_without_command=True,
)

_COMMANDS: tuple[Callable[..., None], ...] = (
    cost.models,
    cost.estimate,
    cost.dryrun,
    cost.plan,
    runs.train,
    runs.sweep,
    runs.status,
    runs.check_mup,
    runs.launch,
    laws.fit,
    figures.plot,
    figures.report,
    weights.evaluate,
    laws.emergence,
    weights.generate,
    weights.score,
    weights.import_hf,
    weights.export_hf,
    runs.demo,
)
for command in _COMMANDS:
    app.command()(command)
data_app.command()(data.describe)
data_app.command()(data.tokenizer)
data_app.command()(preparation.prepare)
data_app.command()(preparation.join)
data_app.command()(preparation.verify)
app.add_typer(data_app, name="data")


_TRAINING = ("train", "sweep", "demo")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"scaling {__version__}")
        raise typer.Exit


def _help_without_command(context: typer.Context) -> None:
    """Print the help of a group that was given no command."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


data_app.callback()(_help_without_command)


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    _help_without_command(context)


def start() -> None:
    """The program `scaling`: `main`, in a process of its own that commands which train may restart."""
    trains = len(sys.argv) > 1 and sys.argv[1] in _TRAINING
    main(first=tune_allocator if trains else lambda: None)


def main(first: Callable[[], None] = lambda: None) -> None:
    """Run the command line, after `first`; an input mistake is one line and exit code 2."""
    choose_platform()
    try:
        first()
        code = app(standalone_mode=False)
    except BadInputError as error:
        say(f"scaling: {error}")
        code = 2
    except StorageError as error:
        say(f"scaling: {error}")
        code = 1
    except _ClickError as error:
        say(f"scaling: {' '.join(error.format_message().split())} (see {_help_command(error)})")
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        say("scaling: interrupted")
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except Exception as error:
        code = _ended(error)
    sys.exit(code)


def _help_command(error: Any) -> str:
    """The command whose help says how the one that failed is used."""
    context, words = getattr(error, "ctx", None), ["--help"]
    while context is not None and context.parent is not None:
        words.insert(0, context.info_name)
        context = context.parent
    return " ".join(["scaling", *words])


def _ended(error: Exception) -> int:
    """The exit code of a run that failed or was asked to stop; anything else is a bug and keeps its trace."""
    from scaling.parallel.processes import InterruptedRunError, RunFailedError

    if isinstance(error, InterruptedRunError):
        say(f"scaling: {error}")
        return 128 + error.signal_number
    if isinstance(error, RunFailedError):
        say(f"scaling: {error}")
        return 1
    raise error


if __name__ == "__main__":
    start()
