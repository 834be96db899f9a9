"""What the commands share: options of the same meaning, and printing."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from scaling.api.results import Result
    from scaling.api.text.blocks import Block

Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="key=value overrides of the config, e.g. model.n_layers=6", metavar="[KEY=VALUE]..."),
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout")]
Mesh = Annotated[str | None, typer.Option(help="devices per mesh axis, e.g. fsdp=64,tensor=8")]
Remat = Annotated[str | None, typer.Option(help="rematerialisation: none, dots or full")]
BatchTokens = Annotated[
    str | None, typer.Option(help="tokens per step; default: one sequence per batch shard")
]
Length = Annotated[str | None, typer.Option(help="tokens per sequence; default: the model's maximum")]
Accumulation = Annotated[str | None, typer.Option(help="microbatches per step")]
Optimizer = Annotated[str | None, typer.Option(help="optimizer: adamw, adafactor, muon or lion")]
Price = Annotated[float | None, typer.Option(help="price per device-hour in USD, instead of the list price")]
Spot = Annotated[bool, typer.Option("--spot", help="use the spot price if one is known")]
Coordinator = Annotated[
    str | None, typer.Option(help="multi-process: HOST:PORT of the first process, or auto (SLURM, TPU pods)")
]
Processes = Annotated[int | None, typer.Option(help="multi-process: number of processes")]
ProcessId = Annotated[int | None, typer.Option(help="multi-process: index of this process, from 0")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print the plan and do nothing")]

Columns = Annotated[
    str | None,
    typer.Option(
        help="CSV column of each field, e.g. params=N,tokens=D*1e9; for runs on a mixture, "
        "loss=by_source.NAME"
    ),
]
Where = Annotated[
    str | None, typer.Option("--where", help="rows to use, by column values, e.g. dataset=c4,split=val")
]
By = Annotated[str | None, typer.Option("--by", help="column; gives one result per value")]
Force = Annotated[
    bool, typer.Option("--force", help="accept losses that differ in kind, and implausible units")
]
Params = Annotated[
    str, typer.Option(help="parameter count N: non_embedding_with_head, non_embedding or total")
]
Flops = Annotated[str, typer.Option(help="compute C: 6nd, or counted (matmul by matmul)")]
Family = Annotated[str | None, typer.Option(help="model family, if a directory has several")]

Against = Annotated[
    str | None, typer.Option(help="scale: flops, params, loss or step; default: the first that all rows have")
]
Tasks = Annotated[str | None, typer.Option(help="tasks to use, e.g. copy,reverse; default: all")]
Shots = Annotated[str | None, typer.Option(help="numbers of examples to use, e.g. 0,8; default: all")]
Metrics = Annotated[str | None, typer.Option(help="metrics to use, e.g. exact_match,answer_log_prob")]


def show(result: "Result", as_json: bool = False, more: "Sequence[Block]" = ()) -> None:
    """Print a result within the columns of the terminal, and `more` below it; or the result as JSON."""
    from scaling.api.text.blocks import terminal_width, text_of

    if as_json:
        print_json(result.to_dict())
    else:
        typer.echo(text_of([*result.blocks(), *more], terminal_width()))


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False))
