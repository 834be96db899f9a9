"""What trained models can do: `evaluate`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scaling.commands.options import Json, Mesh, print_json, say
from scaling.config.record import Evaluation, Score
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.evals.evaluator import EvalSettings
    from scaling.evals.items import EvalTask


def evaluate(
    run: Annotated[Path, typer.Argument(help="run directory, or sweep directory for all its finished runs")],
    suite: Annotated[str, typer.Option(help="suite, or KIND:PATH of a published benchmark's files")],
    tasks: Annotated[
        str | None, typer.Option(help="tasks of the suite to run, e.g. a,b; default: all")
    ] = None,
    shots: Annotated[str, typer.Option(help="examples in the prompt, e.g. 0,1,8")] = "0",
    step: Annotated[str, typer.Option(help="checkpoints: last, all, or a step")] = "last",
    items: Annotated[int, typer.Option(help="most items per task")] = 500,
    template: Annotated[str | None, typer.Option(help="prompt template; default: each task's own")] = None,
    seed: Annotated[int, typer.Option(help="seed of the items, examples and samples")] = 0,
    new_tokens: Annotated[
        int | None, typer.Option(help="most tokens to generate; default: the longest answer plus 4")
    ] = None,
    pass_at: Annotated[str | None, typer.Option(help="values of k for pass@k, e.g. 1,10")] = None,
    samples: Annotated[int | None, typer.Option(help="samples per item for pass@k")] = None,
    temperature: Annotated[float, typer.Option(help="sampling temperature for pass@k")] = 0.8,
    mesh: Mesh = None,
    again: Annotated[bool, typer.Option("--again", help="repeat evaluations that are done")] = False,
    as_json: Json = False,
) -> None:
    """Score tasks, with intervals: zero, one or few examples in the prompt, by likelihood or generation.

    Writes RUN/evals/SUITE-STEP.json; scores that the file already holds are not computed again.
    """
    counts = _numbers("--shots", shots, 0)
    ks = _numbers("--pass-at", pass_at, 1) if pass_at is not None else ()
    for name, value, least in (("--items", items, 1), ("--seed", seed, 0), ("--new-tokens", new_tokens, 1)):
        if value is not None and value < least:
            raise BadInputError(f"{name} {value}: give at least {least}")
    if samples is not None and not ks:
        raise BadInputError(f"--samples {samples}: give --pass-at too")
    drawn = (samples if samples is not None else max(ks)) if ks else 0
    if ks and drawn < max(ks):
        raise BadInputError(f"--samples {drawn}: --pass-at {max(ks)} needs at least {max(ks)}")
    if ks and temperature <= 0:
        raise BadInputError(f"--temperature {temperature}: pass@k draws; give a temperature above 0")
    from scaling.config.devices import parse_mesh
    from scaling.config.mesh import MeshConfig

    sizes = None if mesh is None else parse_mesh(mesh)
    if not run.is_dir():
        raise BadInputError(f"{run}: no such directory; give a run or a sweep directory")

    from scaling.evals.evaluator import EvalSettings
    from scaling.evals.prompts import template_named
    from scaling.evals.suites import load_suite
    from scaling.parallel.processes import keep_compiled
    from scaling.sweep.evaluations import Asks, jobs_of
    from scaling.sweep.evaluations import evaluate as evaluate_job

    chosen = load_suite(suite, None if tasks is None else [name.strip() for name in tasks.split(",")])
    named = None if template is None else template_named(template)

    def hows(source: "EvalTask") -> "tuple[EvalSettings, ...]":
        words = named or template_named(source.template)
        return tuple(
            EvalSettings(words, count, items, seed, new_tokens, ks, drawn, temperature) for count in counts
        )

    asks = Asks(chosen, hows, again)
    keep_compiled()
    jobs = jobs_of(run, step, say)
    from scaling.parallel.mesh import make_mesh
    from scaling.train.progress import Counter

    laid_out = None if sizes is None else make_mesh(MeshConfig(**sizes))
    done: list[Evaluation] = []
    with Counter(len(jobs) * len(asks.all())) as counter:
        for job in jobs:
            counter.name(f"{job.path.name} at {job.step:,}")
            done.append(evaluate_job(job, asks, laid_out, counter.message, counter.advance))
            counter.reach(len(done) * len(asks.all()))
    if as_json:
        documents = [document.model_dump(mode="json") for document in done]
        print_json(documents[0] if (run / "config.yaml").is_file() and len(done) == 1 else documents)
        return
    _show(done, alone=len(done) == 1)
    typer.echo(
        f"Written to {', '.join(str(job.document(chosen)) for job in jobs[:3])}"
        + (f" and {len(jobs) - 3} more" if len(jobs) > 3 else "")
    )


def _numbers(option: str, text: str, least: int) -> tuple[int, ...]:
    """`0,1,8` as numbers, in order and once each."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,6}", part) and int(part) >= least for part in parts):
        raise BadInputError(f"{option} {text}: give whole numbers from {least} on, as {max(1, least)},8")
    return tuple(sorted({int(part) for part in parts}))


def _show(done: list[Evaluation], *, alone: bool) -> None:
    from scaling.tables import show, show_text, table

    rows = []
    for document in done:
        for scores in document.results:
            names = list(scores.scores) if alone else list(scores.scores)[:1]
            for i, name in enumerate(names or ["-"]):
                score = scores.scores.get(name)
                chance = "-" if scores.chance is None or i else f"{scores.chance:.3f}"
                first = () if alone else (document.run, f"{document.step:,}")
                rows.append(
                    (
                        *first,
                        scores.task if i == 0 or not alone else "",
                        scores.template if i == 0 or not alone else "",
                        name,
                        str(scores.shots),
                        "-" if score is None else f"{score.value:.4f}",
                        "-" if score is None else _interval(score, scores.n),
                        chance,
                        str(scores.n),
                        str(scores.skipped),
                    )
                )
    columns = ("task", "template", "metric", "shots", "value", "95% interval", "chance", "n", "skipped")
    title = f"{done[0].suite}: {done[0].run} at step {done[0].step:,}" if alone else done[0].suite
    show(table(title, columns if alone else ("run", "step", *columns), rows, left=3 if alone else 5, keys=3))
    counts = sorted({scores.n for document in done for scores in document.results if scores.n})
    if counts:
        least = counts[0] if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        show_text(f"Shares of {least} items: steps of {1 / counts[0]:.4g}; intervals are over items.")


def _interval(score: Score, n: int) -> str:
    if score.interval is None:
        return "-"
    low, high = score.interval
    if score.kind == "exact":
        return f"< {high:.4f} (0 of {n})" if score.value == 0 else f"> {low:.4f} ({n} of {n})"
    return f"{low:.4f} to {high:.4f}"
