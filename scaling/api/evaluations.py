"""What trained models can do: `evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.api.arguments import Names, Sizes, counts_of, mesh_text, names_of
from scaling.api.progress import say
from scaling.api.results import TableResult
from scaling.api.text.blocks import Block, Text, table
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.config.record import Evaluation, Score
    from scaling.evals.evaluator import EvalSettings
    from scaling.evals.items import EvalTask


@dataclass(frozen=True, repr=False)
class Evaluations(TableResult):
    """Scores with intervals: a document per checkpoint, which was written to its path in `paths`. The table
    has a row per task, number of examples and metric."""

    documents: Sequence["Evaluation"]
    paths: Sequence[Path]
    of_run: bool  # of a run directory, not of a sweep

    def to_dict(self) -> Any:
        """The document of a run's checkpoint; of several, a list."""
        documents = [one.model_dump(mode="json") for one in self.documents]
        return documents[0] if self.of_run and len(documents) == 1 else documents

    def rows(self) -> list[dict[str, Any]]:  # noqa: D102
        rows = []
        for document in self.documents:
            for scores in document.results:
                shared = {
                    "run": document.run,
                    "step": document.step,
                    "task": scores.task,
                    "template": scores.template,
                    "shots": scores.shots,
                    "n": scores.n,
                    "skipped": scores.skipped,
                    "chance": scores.chance,
                }
                for metric, score in scores.scores.items():
                    low, high = score.interval or (None, None)
                    rows.append(shared | {"metric": metric, "value": score.value, "low": low, "high": high})
        return rows

    def blocks(self) -> list[Block]:
        """A row per metric; of several checkpoints, the first metric of each task."""
        done, alone, rows = self.documents, len(self.documents) == 1, []
        for document in done:
            for scores in document.results:
                names = list(scores.scores) if alone else list(scores.scores)[:1]
                for i, name in enumerate(names or ["-"]):
                    score = scores.scores.get(name)
                    cells = (
                        scores.task if i == 0 or not alone else "",
                        scores.template if i == 0 or not alone else "",
                        name,
                        str(scores.shots),
                        "-" if score is None else f"{score.value:.4f}",
                        "-" if score is None else _interval(score, scores.n),
                        "-" if scores.chance is None or i else f"{scores.chance:.3f}",
                        str(scores.n),
                        str(scores.skipped),
                    )
                    rows.append(cells if alone else (document.run, f"{document.step:,}", *cells))
        columns = ("task", "template", "metric", "shots", "value", "95% interval", "chance", "n", "skipped")
        title = f"{done[0].suite}: {done[0].run} at step {done[0].step:,}" if alone else done[0].suite
        heads, left = (columns, 3) if alone else (("run", "step", *columns), 5)
        blocks: list[Block] = [table(title, heads, rows, left=left, keys=3)]
        counts = sorted({scores.n for document in done for scores in document.results if scores.n})
        if counts:
            items = counts[0] if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
            steps = f"Shares of {items} items: steps of {1 / counts[0]:.4g}"
            blocks.append(Text(f"{steps}; intervals are over items."))
        return blocks


def _interval(score: "Score", n: int) -> str:
    if score.interval is None:
        return "-"
    low, high = score.interval
    if score.kind == "exact":
        return f"< {high:.4f} (0 of {n})" if score.value == 0 else f"> {low:.4f} ({n} of {n})"
    return f"{low:.4f} to {high:.4f}"


def evaluate(
    run: str | Path,
    suite: str,
    *,
    tasks: Names = None,
    shots: int | Sequence[int] | str = 0,
    step: int | str = "last",
    items: int = 500,
    template: str | None = None,
    seed: int = 0,
    new_tokens: int | None = None,
    pass_at: int | Sequence[int] | str | None = None,
    samples: int | None = None,
    temperature: float = 0.8,
    mesh: Sizes = None,
    again: bool = False,
) -> Evaluations:
    """Score tasks, with intervals: zero, one or few examples in the prompt, by likelihood or generation.

    Writes RUN/evals/SUITE-STEP.json; scores that the file already holds are not computed again.

    Args:
        run: run directory, or sweep directory for all its finished runs.
        suite: suite, or KIND:PATH of a published benchmark's files.
        tasks: tasks of the suite to run; all by default.
        shots: numbers of examples in the prompt.
        step: checkpoints: last, all, or a step.
        items: most items per task.
        template: prompt template; each task's own by default.
        seed: seed of the items, examples and samples.
        new_tokens: most tokens to generate; the longest answer plus 4 by default.
        pass_at: values of k for pass@k.
        samples: samples per item for pass@k.
        temperature: sampling temperature for pass@k.
        mesh: devices per mesh axis, `{"fsdp": 4, "tensor": 2}`.
        again: repeat evaluations that are done.

    Returns:
        Scores with 95% intervals over items.

    Raises:
        BadInputError: an unknown suite, task or template, or no checkpoint.

    Example:
        >>> scaling.evaluate("runs/mine", "synthetic", shots=[0, 8]).to_frame()
    """
    counts = counts_of("--shots", shots, 0)
    ks = counts_of("--pass-at", pass_at, 1) if pass_at is not None else ()
    for name, value, least in (("--items", items, 1), ("--seed", seed, 0), ("--new-tokens", new_tokens, 1)):
        if value is not None and value < least:
            raise BadInputError(f"{name} {value}: give at least {least}")
    drawn = _samples(samples, ks, temperature)
    from scaling.config.devices import parse_mesh
    from scaling.config.mesh import MeshConfig

    axes = mesh_text(mesh)
    sizes = None if axes is None else MeshConfig(**parse_mesh(axes))
    path = Path(run)
    if not path.is_dir():
        raise BadInputError(f"{path}: no such directory; give a run or a sweep directory")
    from scaling.evals.evaluator import EvalSettings
    from scaling.evals.prompts import template_named
    from scaling.evals.suites import load_suite
    from scaling.parallel.mesh import make_mesh
    from scaling.parallel.processes import keep_compiled
    from scaling.sweep.evaluations import EvaluationPlan, jobs_of
    from scaling.sweep.evaluations import evaluate as evaluate_job
    from scaling.train.progress import Counter

    chosen = load_suite(suite, names_of(tasks))
    named = None if template is None else template_named(template)

    def hows(task: "EvalTask") -> "tuple[EvalSettings, ...]":
        words = named or template_named(task.template)
        return tuple(
            EvalSettings(words, count, items, seed, new_tokens, ks, drawn, temperature) for count in counts
        )

    plan = EvaluationPlan(chosen, hows, again)
    keep_compiled()
    jobs = jobs_of(path, str(step), chosen, say)
    laid_out = None if sizes is None else make_mesh(sizes)
    done: list[Evaluation] = []
    with Counter(len(jobs) * len(plan.all())) as counter:
        for job in jobs:
            counter.name(f"{job.path.name} at {job.step:,}")
            done.append(evaluate_job(job, plan, laid_out, counter.message, counter.advance))
            counter.reach(len(done) * len(plan.all()))
    return Evaluations(done, [job.document(chosen) for job in jobs], (path / "config.yaml").is_file())


def _samples(samples: int | None, ks: Sequence[int], temperature: float) -> int:
    """The number of samples per item: `samples` if given, else the largest k of pass@k; 0 without pass@k."""
    if samples is not None and not ks:
        raise BadInputError(f"--samples {samples}: give --pass-at too")
    if not ks:
        return 0
    drawn = max(ks) if samples is None else samples
    if drawn < max(ks):
        raise BadInputError(f"--samples {drawn}: --pass-at {max(ks)} needs at least {max(ks)}")
    if temperature <= 0:
        raise BadInputError(f"--temperature {temperature}: pass@k draws; give a temperature above 0")
    return drawn
