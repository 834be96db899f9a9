"""Sudden abilities or sharp metrics: `emergence`."""

from pathlib import Path
from typing import Annotated

import typer

from scaling.commands.laws import Force, WhereOption, where_of
from scaling.commands.options import Json, print_json, say
from scaling.runtime.errors import BadInputError

Source = Annotated[
    Path, typer.Argument(help="sweep directory with evaluations, CSV with task and score, or gpt3")
]
Against = Annotated[
    str | None, typer.Option(help="scale: flops, params, loss or step; default: the first that all rows have")
]
Tasks = Annotated[str | None, typer.Option(help="tasks to use, e.g. copy,reverse; default: all")]
Shots = Annotated[str | None, typer.Option(help="numbers of examples to use, e.g. 0,8; default: all")]
Metrics = Annotated[str | None, typer.Option(help="metrics to use, e.g. exact_match,answer_log_prob")]
Params = Annotated[
    str, typer.Option(help="parameter count N: non_embedding_with_head, non_embedding or total")
]
ScoreColumns = Annotated[
    str | None, typer.Option(help="CSV column of each field, e.g. score=acc_norm,params=N,stderr=se")
]
Percent = Annotated[str | None, typer.Option(help="metrics of a CSV that are percentages, e.g. acc_norm,f1")]
Chance = Annotated[str | None, typer.Option(help="score of guessing per task, e.g. piqa=0.5,arc=0.25")]


def emergence(
    source: Source,
    against: Against = None,
    tasks: Tasks = None,
    shots: Shots = None,
    metrics: Metrics = None,
    params: Params = "non_embedding_with_head",
    where: WhereOption = None,
    force: Force = False,
    columns: ScoreColumns = None,
    percent: Percent = None,
    chance: Chance = None,
    above: Annotated[
        float | None, typer.Option(help="score that counts as a breakthrough; default: half way from chance")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="also print the table behind the verdicts")] = False,
    out: Annotated[Path | None, typer.Option(help="file to write emergence.json to")] = None,
    as_json: Json = False,
) -> None:
    """Report for each task whether its score jumps with scale, how often, and whether it was foreseen."""
    if above is not None and not 0 < above < 1:
        raise BadInputError(f"--above {above:g}: give a share between 0 and 1")
    from scaling.laws.emergence import emergence as answer_of
    from scaling.laws.emergence import read_scores
    from scaling.laws.emergence.read import parse_chance, parse_score_columns

    scores = read_scores(
        source,
        params,
        None if columns is None else parse_score_columns(columns),
        names_of(percent) or (),
        None if chance is None else parse_chance(chance),
        where=where_of(where),
        force=force,
    ).choose(names_of(tasks), numbers_of(shots), names_of(metrics))
    document = answer_of(scores, against, above=above).document
    if out is not None:
        document.write(out)
    if as_json:
        for note in document.notes:
            say(note)
        print_json(document.model_dump(mode="json"))
        return
    from scaling.commands.emergence_text import full_table, summary

    for line in summary(document):
        typer.echo(line)
    if full:
        from scaling.tables import show_text

        for line in full_table(document):
            show_text(line)
    if out is not None:
        typer.echo(f"Written to {out}")


def names_of(text: str | None) -> list[str] | None:
    """`copy,reverse` as a list; None stands for all."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def numbers_of(text: str | None) -> list[int] | None:
    """`0,1,8` as a list; None stands for all.

    Raises:
        BadInputError: a part is not a whole number.
    """
    numbers = []
    for part in names_of(text) or ():
        if not part.isdecimal():
            raise BadInputError(f"--shots {text!r}: {part!r} is not accepted; give whole numbers as 0,1,8")
        numbers.append(int(part))
    return None if text is None else numbers
