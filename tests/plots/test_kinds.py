"""`scaling plot`: every kind by the command line, and what each draws against the data it was given."""

import json
import re
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from matplotlib.collections import PathCollection

from scaling.laws import fit_points, read_points
from scaling.laws.frontier.approaches import compare_approaches
from scaling.laws.frontier.isoflop import isoflop_minima
from scaling.laws.frontier.valley_curves import valley
from scaling.laws.points import Count
from scaling.laws.read.inputs import Sources, join_points
from scaling.laws.sections import Profile
from scaling.plots.kinds import KINDS, Options, draw
from scaling.plots.law_figures import log_residuals, normal_quantiles
from scaling.plots.uncertainty import profiles_of
from scaling.runtime.errors import BadInputError
from tests.end_to_end.conftest import run_cli
from tests.laws.known import few_starts, ladder
from tests.laws.valleys import valleys
from tests.plots.sweep_of import write_sweep

__all__ = ["run_cli"]
PROFILE = {
    "alpha": {
        "grid": [0.2, 0.3, 0.4],
        "objective": [0.3, 0.1, 0.4],
        "interval": [0.25, None],
        "identified": True,
    },
    "A": {
        "grid": [1.0, 1e2, 1e4],
        "objective": [0.2, 0.1, 0.1],
        "interval": [None, None],
        "identified": False,
    },
}


def profiled(law):
    """The law with profiles."""
    return law.model_copy(update={"profile": {name: Profile(**one) for name, one in PROFILE.items()}})


@pytest.fixture(scope="module")
def points():
    return valleys(span=3, noise=1e-3)


@pytest.fixture(scope="module")
def law(points):
    with few_starts():
        return fit_points(points, bootstrap=20, holdout=None)


@pytest.fixture(scope="module")
def sources(points, law):
    return Sources.of(points, law)


def spots(axes):
    """(n, 2) every marker of every scatter on the axes."""
    return np.concatenate([c.get_offsets() for c in axes.collections if isinstance(c, PathCollection)])


def same_set(a, b, rtol=1e-9):
    a, b = np.asarray(a, float), np.asarray(b, float)
    np.testing.assert_allclose(a[np.lexsort(a.T[::-1])], b[np.lexsort(b.T[::-1])], rtol=rtol)


def test_every_kind_has_its_function():
    for place in KINDS.values():
        module, function = place.split(":")
        assert callable(getattr(import_module(f"scaling.plots.{module}"), function))


def test_every_kind_by_the_command_line_in_every_format(run_cli, tmp_path, law):
    write_sweep(tmp_path / "sweep")
    with few_starts():
        fit_points(read_points(tmp_path / "sweep"), bootstrap=20, holdout=1).write(
            tmp_path / "sweep/law.json"
        )
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    needs_more = {"isoflop": "no compute budget with runs of two sizes", "profiles": "scaling fit SOURCE"}
    needs_more |= {"lr-bowls": "three learning rates", "errors-by-reach": "no rolled hold-out"}
    needs_more |= dict.fromkeys(("emergence", "sharp-and-smooth", "in-context"), "evaluat")
    for i, kind in enumerate(KINDS):
        suffix = list(starts)[i % 3]
        code, out, err = run_cli(
            "plot", kind, "sweep", "--out", f"{kind}.{suffix}", "--bootstrap", "20", "--json"
        )
        if kind in needs_more:
            assert code == 2 and needs_more[kind] in err and err.count("\n") == 1
            assert not (tmp_path / f"{kind}.{suffix}").exists()
        else:
            assert code == 0, err
            assert json.loads(out)["bytes"] > 5_000
            assert (tmp_path / f"{kind}.{suffix}").read_bytes().startswith(starts[suffix])


def test_wrong_kinds_and_options_are_one_line(run_cli, tmp_path):
    (tmp_path / "a.csv").write_text("params,tokens,loss\n1e6,2e7,4\n2e6,4e7,3.5\n")
    for arguments, words in (
        (["pie", "a.csv", "--out", "a.png"], f"known: {', '.join(KINDS)}"),
        (["residuals", "a.csv", "--out", "a.png"], "residuals needs a law"),
        (["residuals", "a.csv", "--out", "a.jpg"], "suffix '.jpg'"),
        (["isoflop", "a.csv", "--out", "a.png", "--method", "cubic"], "method='cubic'"),
        (["families", "a.csv", "--out", "a.png"], "not a directory"),
        (["allocation", "a.csv", "--out", "a.png"], "no approach finds an optimum"),
    ):
        code, out, err = run_cli("plot", *arguments)
        assert (code, out) == (2, "") and words in err and err.count("\n") == 1
    code, out, _ = run_cli("plot", "--help")
    assert code == 0 and all(kind in re.sub(r"-\s+", "-", out) for kind in KINDS)


def test_families_on_different_corpora_are_not_compared(run_cli, tmp_path):
    for corpus in ("stdlib", "text:mine"):
        for path in write_sweep(tmp_path / corpus[:4]).glob("*/record.json"):
            record = json.loads(path.read_text()) | {"dataset": corpus}
            path.write_text(json.dumps(record))
    command = ("plot", "families", "stdl", "text", "--out", "f.png")
    code, out, err = run_cli(*command)
    assert (code, out) == (2, "") and "--where dataset=" in err and err.count("\n") == 1
    assert not (tmp_path / "f.png").exists()
    assert run_cli(*command, "--where", "dataset=stdlib")[0] == 0
    assert run_cli(*command, "--force")[0] == 0


def test_several_sources_are_one_set_of_points(run_cli, tmp_path):
    for name, low in (("a", 1), ("b", 3)):
        rows = "".join(f"{low * 1e6:g},{d:g},{4 / low - d / 1e9}\n" for d in (2e7, 4e7))
        (tmp_path / f"{name}.csv").write_text("params,tokens,loss\n" + rows)
    code, _, err = run_cli("plot", "loss-vs-tokens", "a.csv", "b.csv", "--out", "both.svg")
    assert code == 0, err
    parts = [read_points(tmp_path / f"{name}.csv") for name in "ab"]
    counted = [replace(part, counts={"params": Count("total"), "flops": Count("6nd")}) for part in parts]
    joined = join_points(counted)
    assert joined.loss.tolist() == [*parts[0].loss, *parts[1].loss]
    assert len(set(joined.groups)) == 4
    with pytest.raises(BadInputError, match="give sources that count in the same way"):
        join_points(
            [counted[0], replace(counted[1], counts={"params": Count("total"), "flops": Count("counted")})]
        )


def test_isoflop_draws_every_run_its_parabola_and_its_minimum(points):
    found = isoflop_minima(points, bootstrap=50)
    figure = draw("isoflop", Sources.of(points), Options(bootstrap=50))
    left, right = figure.axes
    minima = np.array([(m.params, m.loss) for m in found.minima])
    same_set(spots(left), np.concatenate([np.stack([points.params, points.loss], axis=1), minima]))
    same_set(spots(right), [(m.flops, m.params) for m in found.minima])
    for line, minimum in zip([x for x in left.lines if len(x.get_xdata()) == 100], found.minima, strict=True):
        x, y = line.get_data()
        assert x[np.argmin(y)] == pytest.approx(minimum.params, rel=0.05)
        assert y.min() == pytest.approx(minimum.loss, rel=1e-4)


def test_a_refused_budget_is_hollow_and_says_why(points):
    low = points.flops < points.flops.min() * 1.1
    edge = low & (points.params >= np.median(points.params[low]) * 1.5)
    part = points.subset(~low | edge)
    figure = draw("isoflop", Sources.of(part), Options(bootstrap=0))
    hollow = [c for c in figure.axes[0].collections if np.allclose(c.get_facecolor()[0], 1)]
    assert [len(c.get_offsets()) for c in hollow] == [int(edge.sum())]
    assert any("Hollow, without a minimum" in text.get_text() for text in figure.texts)


def test_akima_valleys_pass_through_their_runs(points):
    group = points.subset(points.flops < points.flops.min() * 1.1)
    x, y = valley(group, "akima")
    np.testing.assert_allclose(np.interp(np.log(group.params), np.log(x), y), group.loss, rtol=2e-3)


def test_exponents_are_those_of_the_approaches(sources, points, law):
    options = Options(bootstrap=50)
    found = compare_approaches(points, (), law, bootstrap=50)
    for kind, at in (("exponents", 0), ("allocation", -1)):
        axes = draw(kind, sources, options).axes[at]
        same_set(spots(axes), [(one.a, y) for y, one in enumerate(found) if one.a is not None])
        bars = [line.get_xdata().tolist() for line in axes.lines if line.get_linewidth() == 2]
        assert bars == [list(one.a_interval) for one in found if one.a_interval]
        assert {0.73, 0.50, 0.49, 0.46} <= {line.get_xdata()[0] for line in axes.lines}
    left = draw("allocation", sources, options).axes[0]
    for line, one in zip(left.lines, [one for one in found if one.a is not None], strict=True):
        assert line.get_ydata().tolist() == [at.params for at in one.line]
        slope = np.polyfit(np.log(line.get_xdata()), np.log(line.get_ydata()), 1)[0]
        assert slope == pytest.approx(one.a, abs=1e-9)


def test_bands_of_the_power_laws_hold_the_line(points, law):
    for one in compare_approaches(points, (), law, bootstrap=100)[1:]:
        for at in one.line:
            assert at.params_interval[0] < at.params < at.params_interval[1]
            assert at.tokens_interval[0] < at.tokens < at.tokens_interval[1]


def test_residuals_are_logs_of_measured_over_predicted(sources, points, law):
    figure = draw("residuals", sources)
    expected = 100 * np.log(points.loss / law.predict(params=points.params, tokens=points.tokens))
    for axes, x in zip(figure.axes[:3], (points.params, points.tokens, points.flops), strict=True):
        same_set(spots(axes), np.stack([x, expected], axis=1))
    same_set(spots(figure.axes[3]), np.stack([normal_quantiles(len(points)), np.sort(expected)], axis=1))
    assert log_residuals(law, points)[1].all()


def test_contours_hold_the_runs_and_the_optimal_path(sources, points, law):
    axes = draw("contours", sources).axes[0]
    same_set(spots(axes), np.stack([points.tokens, points.params], axis=1))
    path = next(line for line in axes.lines if line.get_linewidth() == 2.2)
    d, n = path.get_data()
    optimum = law.frontier()
    np.testing.assert_allclose(n, optimum.params(6 * n * d), rtol=1e-9)


def test_profiles_are_read_from_the_law(law):
    figure = draw("profiles", Sources.of(ladder(), profiled(law)))
    assert [one.name for one in profiles_of(profiled(law))] == ["alpha", "A"]
    first = figure.axes[0].lines[0]
    assert first.get_xdata().tolist() == PROFILE["alpha"]["grid"]
    least = min(0.1, law.objective.value)
    np.testing.assert_allclose(first.get_ydata(), np.array(PROFILE["alpha"]["objective"]) - least)
    assert figure.axes[1].get_title() == "" and figure.axes[1].get_title(loc="left") == "not identified"


def test_pairs_show_the_resamples(sources, law):
    figure = draw("bootstrap", sources)
    names = list(law.bootstrap.samples)
    assert len(figure.axes) == len(names) * (len(names) + 1) // 2
    column = np.asarray(law.bootstrap.samples["beta"])
    last_row = next(axes for axes in figure.axes if axes.get_ylabel() == "$\\beta$")
    np.testing.assert_allclose(spots(last_row)[:, 1], column)


@pytest.mark.parametrize("name", ["compute-power", "downstream-error", "learning-rate"])
def test_laws_of_one_variable_are_curves_through_their_runs(name):
    points = ladder(0.002)
    rates = 1e-2 * (points.params / 1e8) ** -0.2 * (points.tokens / 1e9) ** 0.1
    points = replace(points, error=0.9 - 2.0 * np.exp(-0.7 * points.loss), learning_rate=rates)
    law = fit_points(points, name, delta=10.0, holdout=None, residual="plain" if name[0] == "d" else "log")
    axes = draw("law", Sources.of(points, law)).axes[0]
    variable, target = law.form.variables[-1], law.form.target
    same_set(spots(axes), np.stack([points.column(variable), points.column(target)], axis=1))
    line = axes.lines[0]
    x = line.get_xdata()
    given = {"params": np.full_like(x, points.params.min())} if len(law.form.variables) == 2 else {}
    np.testing.assert_allclose(line.get_ydata(), law.predict(**given | {variable: x}))


def test_a_law_of_three_variables_is_no_curve(points, law):
    with pytest.raises(BadInputError, match="has the variables params, tokens, unique_tokens"):
        draw("law", Sources.of(points, law.model_copy(update={"law": "repeated-data"})))
