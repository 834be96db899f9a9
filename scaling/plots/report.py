"""`scaling report`: a self-contained HTML page about sweeps, which requests nothing from the network."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from scaling.laws.frontier.approaches import Approach, compare_approaches
from scaling.laws.frontier.isoflop import isoflop_minima
from scaling.laws.law import Law
from scaling.laws.points import Points, Where
from scaling.laws.read.comparable import comparable
from scaling.laws.read.curves import Curve
from scaling.laws.read.inputs import Sources
from scaling.laws.tuned import Tuned, fitted_to
from scaling.plots.by_reach import by_reach_section, interactive_errors_by_reach, measured
from scaling.plots.by_reach import note as reach_note
from scaling.plots.compute_optimal import PAPERS, interval_note, reasons
from scaling.plots.interactive import interactive_loss_vs_compute, interactive_loss_vs_tokens
from scaling.plots.interactive_law import (
    interactive_contours,
    interactive_exponents,
    interactive_isoflop,
    interactive_profile,
    interactive_residuals,
)
from scaling.plots.labels import counting_note, fitted_note
from scaling.plots.report_html import dark_colours, embed
from scaling.plots.report_law import (
    approaches_section,
    budgets_section,
    comparison_section,
    diagnostics_section,
    holdout_section,
    law_section,
    rolling_section,
    sensitivity_section,
)
from scaling.plots.report_runs import (
    Run,
    by_source_section,
    conventions_section,
    points_section,
    runs_of,
    runs_section,
    summary,
)
from scaling.plots.uncertainty import profiles_of
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import write_atomically

PAGE = Path(__file__).with_name("report_page.html")
RESAMPLES = 500  # bootstrap resamples of the isoFLOP minima and of the approaches
TOLERANCE = 0.05


def write_report(
    source: Path | Sequence[Path] | Points,
    law: Law | None,
    out: Path,
    params: str = "non_embedding_with_head",
    flops: str = "6nd",
    title: str | None = None,
    family: str | None = None,
    columns: dict[str, str] | None = None,
    where: Where | None = None,
    force: bool = False,
) -> Path:
    """Write the page for sweep directories and tables, or for points.

    Args:
        source: a sweep or run directory, a CSV, several of them, or points (without records or curves).
        law: the fitted law; None omits its sections.
        out: the HTML file.
        params: for a directory, which count of parameters is N.
        flops: for a directory, "6nd" or "counted".
        family: selects the runs of one family.
        title: default: the name of the first source.
        columns: for a CSV, the column of each field.
        where: selects rows by the values of columns.
        force: accept losses that are not comparable; the page then says so.

    Raises:
        BadInputError: no finished run, losses that are not comparable, a law that is not of loss, or `out`
            cannot be written.
    """
    paths = (source,) if isinstance(source, Path) else () if isinstance(source, Points) else tuple(source)
    if isinstance(source, Points):
        sources = Sources.of(comparable(source, force)[0], law)
    else:
        sources = Sources(paths, None, columns, params, flops, family, where, force)
        vars(sources).update(law=law)  # fills the cached property
    points = sources.points
    runs = runs_of([path for path in paths if path.is_dir()], family, where)
    if law is not None and law.form.target != "loss":
        raise BadInputError(
            f"a report shows losses; {law.law} predicts {law.form.target}: give a law of loss"
        )
    name = title or (paths[0] if paths else Path(points.source)).resolve().name
    page = render(name, points, law, runs, sources.curves, params)
    write_atomically(out, page.encode())
    return out


def render(
    title: str,
    points: Points,
    law: Law | None,
    runs: Sequence[Run],
    curves: Sequence[Curve],
    params: str = "non_embedding_with_head",
) -> str:
    """The page as text."""
    records = [run.record for run in runs]
    found = compare_approaches(points, curves, law, bootstrap=RESAMPLES)
    figures = figures_of(fitted_to(points, law), law, curves, found)
    documents = {name: document for one in figures for name, document in one.figures.items()}
    drawn = {one.name: one.section() for one in figures}
    of_law: list[str] = []
    if law is not None:
        of_law = [
            law_section(law),
            drawn.pop("contours", ""),
            budgets_section(law),
            holdout_section(law),
            rolling_section(law),
            by_reach_section(law),
            drawn.pop("errors-by-reach", ""),
            comparison_section(law),
            sensitivity_section(law),
            drawn.pop("profiles", ""),
            drawn.pop("residuals", ""),
            diagnostics_section(law),
        ]
    sections = [
        summary(points, law, records),
        *drawn.values(),
        approaches_section(found, points),
        *of_law,
        runs_section(runs, params) if runs else points_section(points),
        by_source_section(runs, params),
        conventions_section(points, law, records),
    ]
    values = {
        "title": html.escape(title),
        "body": "\n".join(filter(None, sections)),
        "figures": embed(documents),
        "dark": embed(dark_colours(documents)),
        "plotly": get_plotlyjs(),
    }
    # One pass over the template alone, so that a run named "{{plotly}}" stays a name.
    return re.sub(r"{{(\w+)}}", lambda match: values[match[1]], PAGE.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class FigureSection:
    """A section with figures: `title` and `note` are plain text, `figures` are Plotly documents by id."""

    name: str
    title: str
    note: str
    figures: dict[str, dict[str, Any]]
    height: str = ""  # a CSS class of the page

    def section(self) -> str:
        """The markup, with an empty element for each figure."""
        title = html.escape(self.title)
        kind = f'class="figure {self.height}" role="img" aria-label="{title}"'
        places = "".join(f'<div id="{name}" {kind}></div>' for name in self.figures)
        if len(self.figures) > 1:
            places = f'<div class="grid">{places}</div>'
        return f'<section><h2>{title}</h2>{places}<p class="note">{html.escape(self.note)}</p></section>'


def figures_of(
    fitted: Tuned, law: Law | None, curves: Sequence[Curve], found: Sequence[Approach]
) -> list[FigureSection]:
    """The figures that the points and the law allow, in the order of the page."""
    points = fitted.points
    counting = f"{counting_note(points)} {fitted_note(fitted)}".rstrip()
    sections: list[FigureSection] = []

    def add(name: str, title: str, note: str, figure: dict[str, Any], height: str = "") -> None:
        sections.append(FigureSection(name, title, note, {name: figure}, height))

    faint = fitted_note(fitted, faint=True)
    compute = interactive_loss_vs_compute(points, law, curves, fitted.runs)
    tokens = interactive_loss_vs_tokens(points, law, curves, fitted.runs)
    add("compute", "Loss against training compute", f"{_compute_note(law)} {faint}".rstrip(), compute)
    note = f"Colour is model size. {counting_note(points)} {faint}".rstrip()
    add("tokens", "Loss against training tokens", note, tokens)
    minima = isoflop_minima(points, tolerance=TOLERANCE, bootstrap=RESAMPLES)
    if minima.minima:
        refused = " ".join(reasons(minima.refused))
        note = "Stars are minima of windowed parabolas in log N, with 95% bootstrap intervals."
        add(
            "isoflop",
            "IsoFLOP minima",
            f"{note} {counting} {refused}",
            interactive_isoflop(points, minima, TOLERANCE),
        )
    if any(one.a is not None for one in found):
        note = f"{interval_note('Bars', found)} Lines are published exponents: {'; '.join(PAPERS)}.".lstrip()
        add("exponents", "Exponent of the compute-optimal size", note, interactive_exponents(found), "low")
    if law is None:
        return sections
    if law.form.variables == ("params", "tokens"):
        note = f"Grey lines: equal loss by the fitted law, in {points.loss_unit}. {counting}"
        add("contours", "Loss over parameters and tokens", note, interactive_contours(law, points))
    if profiles := profiles_of(law):
        note = (
            "The rise of the objective above its minimum when one quantity is held fixed and all other "
            "parameters are fitted again. Shaded: the 95% interval; vertical line: the estimate."
        )
        panels = {f"profile-{i}": interactive_profile(law, one) for i, one in enumerate(profiles)}
        sections.append(FigureSection("profiles", "Profiles of the parameters", note, panels))
    if (errors := measured(law)) is not None:
        figure = interactive_errors_by_reach(law, errors)
        add("errors-by-reach", "Prediction errors against reach", reach_note(errors), figure, "low")
    note = f"Residuals of the fit to all points. 1% is 0.01 in the natural logarithm. {counting}"
    add("residuals", "Residuals of the law", note, interactive_residuals(law, points), "low")
    return sections


def _compute_note(law: Law | None) -> str:
    note = "Filled points: measured and fitted. Dashed line: lower envelope of the measured points."
    if law is not None:
        note += " Orange line: the law fitted to all runs, drawn to ten times the largest compute"
        note += f", with its {law.bootstrap.level:.0%} bootstrap interval." if law.bootstrap else "."
        if law.holdout:
            note += " Hollow points: held out. Bars: predictions of a law fitted without them."
    return note
