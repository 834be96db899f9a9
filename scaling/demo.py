"""The demo: the whole chain here, from a ladder of runs to a law that predicted its largest size."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.config.load import load_sweep
from scaling.laws import LawFit, fit_points, read_points
from scaling.plots.figures import save_figure
from scaling.plots.kinds import draw
from scaling.plots.report import write_report
from scaling.plots.sources import Sources
from scaling.sweep.execute import run_sweep
from scaling.train.progress import Reporter
from scaling.train.stopping import RunFailedError

FIGURES = ("loss-vs-compute", "loss-vs-tokens", "predicted-vs-measured")
BOOTSTRAP = 500


@dataclass(frozen=True)
class Demo:
    """What the demo leaves behind."""

    law: LawFit
    figures: tuple[Path, ...]
    report: Path

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "law": self.law.model_dump(mode="json"),
            "figures": [str(path) for path in self.figures],
            "report": str(self.report),
        }


def run_demo(directory: Path, reporter: Reporter) -> Demo:
    """Train the ladder of `configs/sweeps/demo.yaml`, fit the law without its largest size, predict that one.

    Raises:
        RunFailedError: a run of the ladder failed.
    """
    sweep = load_sweep("demo")
    _, failures = run_sweep(sweep, directory, reporter)
    if failures:
        raise RunFailedError(f"the demo is incomplete: {failures[0]}")
    reporter.message("fitting the law")
    points = read_points(directory)
    law = fit_points(points, "chinchilla", bootstrap=BOOTSTRAP, holdout=1)
    law.write(directory / "law.json")
    sources = Sources((directory,))
    figures = []
    for kind in FIGURES:
        path = directory / f"{kind}.png"
        save_figure(draw(kind, sources), path)
        figures.append(path)
    report = directory / "report.html"
    write_report(directory, law, report, title="The demo: a ladder of decoders on Python's standard library")
    return Demo(law, tuple(figures), report)
