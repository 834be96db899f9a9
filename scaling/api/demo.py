"""The demo: a ladder of runs, and the law that predicts its largest size before it is looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.api.results import Result
from scaling.api.text.blocks import Block, Text

if TYPE_CHECKING:
    from scaling.laws import Law

FIGURES = {
    "loss-vs-compute": "loss-vs-compute",
    "loss-vs-tokens": "loss-vs-tokens",
    "predicted-vs-measured": "predicted-vs-measured",
    "isoflop": "isoflop",
    "approaches": "allocation",  # the approaches to the compute optimum, next to each other
    "exponents": "exponents",
}
BOOTSTRAP = 500


@dataclass(frozen=True, repr=False)
class Demo(Result):
    """What the demo leaves behind."""

    law: "Law"
    figures: Sequence[Path]
    report: Path

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        return {
            "law": self.law.model_dump(mode="json"),
            "figures": [str(path) for path in self.figures],
            "report": str(self.report),
        }

    def blocks(self) -> list[Block]:  # noqa: D102
        from scaling.api.text.laws import law_blocks

        written = [Text(f"Written to {path}") for path in (*self.figures, self.report)]
        return [*law_blocks(self.law), *written]


def demo(out: str | Path = "demo", seed: int = 0) -> Demo:
    """Train a small ladder, fit its law without its largest size, predict that one, and write the report.

    The hold-out is fixed by this rule before anything is trained. As many runs train at once as there are
    cores.

    Args:
        out: directory of the runs, the law, the figures and the report.
        seed: seed of the initial weights and of the data order.

    Returns:
        The law, and the paths of the figures and the report.

    Raises:
        RunFailedError: a run of the sweep failed.
    """
    import jax

    from scaling.config.load import load_sweep
    from scaling.laws import fit_points, read_points
    from scaling.laws.read.inputs import Sources
    from scaling.parallel.processes import RunFailedError
    from scaling.plots.kinds import Options, draw
    from scaling.plots.report import write_report
    from scaling.plots.style import save_figure
    from scaling.sweep.execute import run_sweep
    from scaling.sweep.workers import available_cores
    from scaling.train.progress import Terminal

    directory = Path(out)
    sweep = load_sweep("demo", [f"base.train.seed={seed}", f"base.data.seed={seed}"])
    workers = min(len(available_cores()), len(sweep.variants)) if jax.default_backend() == "cpu" else 1
    with Terminal() as reporter:
        _, failures = run_sweep(sweep, directory, reporter, workers)
        if failures:
            raise RunFailedError(f"the demo is incomplete: {failures[0]}")
        reporter.message("fitting the law")
    law = fit_points(read_points(directory), "chinchilla", bootstrap=BOOTSTRAP, holdout=1, profile=True)
    law.write(directory / "law.json")
    sources, options = Sources((directory,)), Options(bootstrap=BOOTSTRAP)
    figures = []
    for name, kind in FIGURES.items():
        path = directory / f"{name}.png"
        save_figure(draw(kind, sources, options), path)
        figures.append(path)
    report = directory / "report.html"
    title = "The demo: decoders of seven sizes on Python's standard library"
    write_report(directory, law, report, title=title)
    return Demo(law, tuple(figures), report)
