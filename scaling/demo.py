"""The demo: the whole chain here, from a ladder of runs to a law that predicted its largest size."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.config.load import load_sweep
from scaling.laws import LawFit, fit_points, read_points
from scaling.plots.figures import save_figure
from scaling.plots.kinds import draw
from scaling.plots.report import write_report
from scaling.plots.sources import Options, Sources
from scaling.sweep.execute import run_sweep
from scaling.train.progress import Reporter
from scaling.train.stopping import RunFailedError

FIGURES = ("loss-vs-compute", "loss-vs-tokens", "predicted-vs-measured")
# Of the ladder and the isoFLOP runs together: the approaches to the compute optimum, side by side.
OPTIMUM_FIGURES = {"isoflop": "isoflop", "approaches": "allocation", "exponents": "exponents"}
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

    The sweep `demo-isoflop`, in a directory of its own, adds what a ladder has not: sizes at equal compute.

    Raises:
        RunFailedError: a run of a sweep failed.
    """
    isoflop = directory / "isoflop"
    for name, home in (("demo", directory), ("demo-isoflop", isoflop)):
        _, failures = run_sweep(load_sweep(name), home, reporter)
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
    both = Sources((directory, isoflop))
    for name, kind in OPTIMUM_FIGURES.items():
        path = directory / f"{name}.png"
        save_figure(draw(kind, both, Options(bootstrap=BOOTSTRAP)), path)
        figures.append(path)
    report = directory / "report.html"
    title = "The demo: a ladder and isoFLOP runs of decoders on Python's standard library"
    write_report((directory, isoflop), law, report, title=title)
    return Demo(law, tuple(figures), report)
