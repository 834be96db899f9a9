"""The demo: the whole chain here, from a ladder of runs to a law that predicted its largest size."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from scaling.config.load import load_sweep
from scaling.laws import Law, fit_points, read_points
from scaling.laws.read.inputs import Sources
from scaling.plots.kinds import Options, draw
from scaling.plots.report import write_report
from scaling.plots.style import save_figure
from scaling.sweep.execute import run_sweep
from scaling.sweep.workers import available_cores
from scaling.train.progress import Reporter
from scaling.train.stopping import RunFailedError

FIGURES = {
    "loss-vs-compute": "loss-vs-compute",
    "loss-vs-tokens": "loss-vs-tokens",
    "predicted-vs-measured": "predicted-vs-measured",
    "isoflop": "isoflop",
    "approaches": "allocation",  # the approaches to the compute optimum, next to each other
    "exponents": "exponents",
}
BOOTSTRAP = 500


@dataclass(frozen=True)
class Demo:
    """What the demo leaves behind."""

    law: Law
    figures: tuple[Path, ...]
    report: Path

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "law": self.law.model_dump(mode="json"),
            "figures": [str(path) for path in self.figures],
            "report": str(self.report),
        }


def run_demo(directory: Path, reporter: Reporter, seed: int = 0) -> Demo:
    """Train the ladder of `configs/sweeps/demo.yaml`, fit the law without its largest size, predict that one.

    The hold-out is fixed by this rule before anything is trained. As many runs train at once as there are
    cores.

    Args:
        directory: of the sweep, the law, the figures and the report.
        reporter: of progress.
        seed: of initialisation and of the order of the data.

    Raises:
        RunFailedError: a run of the sweep failed.
    """
    sweep = load_sweep("demo", [f"base.train.seed={seed}", f"base.data.seed={seed}"])
    workers = min(len(available_cores()), len(sweep.variants)) if jax.default_backend() == "cpu" else 1
    _, failures = run_sweep(sweep, directory, reporter, workers)
    if failures:
        raise RunFailedError(f"the demo is incomplete: {failures[0]}")
    reporter.message("fitting the law")
    points = read_points(directory)
    law = fit_points(points, "chinchilla", bootstrap=BOOTSTRAP, holdout=1, profile=True)
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
