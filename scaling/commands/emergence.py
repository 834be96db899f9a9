"""Sudden abilities or sharp metrics: `emergence`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scaling.commands.laws import Force, WhereOption, where_of
from scaling.commands.options import Json, print_json
from scaling.config.errors import BadInputError

if TYPE_CHECKING:
    from scaling.laws.emergence import Emergence, Verdict
    from scaling.laws.emergence.document import Threshold

Source = Annotated[
    Path, typer.Argument(help="a sweep directory with evaluations, a CSV with task and score, or gpt3")
]
Against = Annotated[
    str | None, typer.Option(help="flops, params, loss or step; the first that every row has")
]
Tasks = Annotated[str | None, typer.Option(help="which tasks, as copy,reverse; all where not given")]
Shots = Annotated[str | None, typer.Option(help="which numbers of examples, as 0,8; all where not given")]
Metrics = Annotated[str | None, typer.Option(help="which metrics, as exact_match,answer_log_prob")]
Params = Annotated[str, typer.Option(help="N: non_embedding_with_head, non_embedding or total")]

_UNIT = {"flops": "FLOPs", "params": "parameters", "loss": "nats a token", "step": "steps"}


def emergence(
    source: Source,
    against: Against = None,
    tasks: Tasks = None,
    shots: Shots = None,
    metrics: Metrics = None,
    params: Params = "non_embedding_with_head",
    where: WhereOption = None,
    force: Force = False,
    out: Annotated[Path | None, typer.Option(help="emergence.json; not written where not given")] = None,
    as_json: Json = False,
) -> None:
    """Say for each task whether its score needs a break over scale, where, and how well it was foreseen."""
    from scaling.laws.emergence import emergence as answer_of
    from scaling.laws.emergence import read_scores

    scores = read_scores(source, params, where=where_of(where), force=force)
    scores = scores.choose(names_of(tasks), numbers_of(shots), names_of(metrics))
    document = answer_of(scores, against).document
    if out is not None:
        document.write(out)
    if as_json:
        print_json(document.model_dump(mode="json"))
        return
    for line in table(document):
        typer.echo(line)
    if out is not None:
        typer.echo(f"Written to {out}")


def names_of(text: str | None) -> list[str] | None:
    """`copy,reverse` as a list; None stands for all."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def numbers_of(text: str | None) -> list[int] | None:
    """`0,1,8` as a list; None stands for all.

    Raises:
        BadInputError: a part is no whole number.
    """
    numbers = []
    for part in names_of(text) or ():
        if not part.isdecimal():
            raise BadInputError(f"--shots {text!r}: {part!r} is not accepted; give whole numbers as 0,1,8")
        numbers.append(int(part))
    return None if text is None else numbers


def table(document: "Emergence") -> list[str]:
    """The answer for a person: a line a verdict, then a line a pair of metrics."""
    header = (
        "task", "metric", "shots", "verdict", "half rise [95%]", "break [95%]", "dAICc", "dCV", "forecast",
    )  # fmt: skip
    rows = [header, *(_row(v) for v in document.verdicts)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = [
        f"{document.source} over {document.against} ({_UNIT[document.against]}); "
        "dAICc and dCV (nats) are positive where a break explains more",
        *(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ),
    ]
    for pair in document.metric_or_model:
        numbers = ""
        if pair.mean_abs_error is not None:
            numbers = (
                f"; token accuracy to the power {pair.answer_tokens:.3g} misses exact match by "
                f"{pair.mean_abs_error:.3f} on average"
            )
            if pair.effective_length is not None:
                numbers += f" (the power {pair.effective_length:.2g} fits best)"
        lines.append(
            f"{pair.task}, {pair.shots} shots: {pair.sharp} {pair.sharp_word}, {pair.smooth} "
            f"{pair.smooth_word}: {pair.conclusion} ({pair.why}){numbers}"
        )
    for v in document.verdicts:
        if len(v.forecasts) > 1:
            ways = ", ".join(f"{f.error:+.3g} by way of {f.via}" for f in v.forecasts)
            lines.append(f"{v.task}, {v.shots} shots: forecast of the largest scale: {ways}")
    return lines


def _row(v: "Verdict") -> tuple[str, ...]:
    name = v.task if v.size is None else f"{v.task}, N={v.size:.3g}"
    ahead = f"{v.forecasts[0].error:+.3f}" if v.forecasts else "-"
    if v.forecasts and not v.forecasts[0].inside:
        ahead += " (outside)"
    cv = "-" if v.delta_cv is None else f"{v.delta_cv:+.1f} \N{PLUS-MINUS SIGN} {v.delta_cv_error:.1f}"
    delta = "-" if v.delta_aicc is None else f"{v.delta_aicc:+.1f}"
    places = (shown(v.half_rise), shown(v.changepoint))
    return name, v.metric, str(v.shots), v.word, *places, delta, cv, ahead


def shown(place: "Threshold | None") -> str:
    """`9.2e+22 [6.9e+22, 1.3e+23]`; `~` where the value itself lies beyond the data; an open end is empty."""
    if place is None or place.value is None:
        return "-"
    low, high = ("" if end is None else f"{end:.2g}" for end in place.interval)
    return f"{'~' if place.beyond else ''}{place.value:.2g} [{low}, {high}]"
