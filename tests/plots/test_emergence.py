import pytest

from scaling.config.errors import BadInputError
from scaling.laws.emergence import emergence, read_scores
from scaling.plots.emergence import emergence_figure, sharp_and_smooth_figure, spreads, wilson
from scaling.plots.figures import save_figure
from scaling.plots.in_context import in_context_figure
from tests.laws.emergent import drawn, logistic


@pytest.fixture(scope="module")
def gpt3():
    return emergence(read_scores("gpt3"), tasks=["4D+", "WiC"])


def test_a_panel_a_task_with_units_verdicts_and_chance(gpt3):
    figure = emergence_figure(gpt3)
    assert figure.get_supxlabel() == "Training compute C (FLOPs)"
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left").strip() for axes in shown] == ["4D+", "WiC"]
    words = [text.get_text() for text in shown[0].get_legend().get_texts()]
    assert [w.split(": ")[0] for w in words] == ["0 shots", "1 shot", "50 shots"]
    assert any(list(line.get_ydata()) == [0.5, 0.5] for line in shown[1].lines)


def test_zeros_on_a_log_axis_are_upper_bounds_over_one_item(gpt3):
    axes = emergence_figure(gpt3, log_score=True).axes[0]
    zeros = int((gpt3.scores.of(("4D+", "exact_match", 0)).score == 0).sum())
    arrows = [t for t in axes.texts if getattr(t, "arrow_patch", None) is not None]
    every = sum(int((gpt3.scores.of(("4D+", "exact_match", s)).score == 0).sum()) for s in (0, 1, 50))
    assert zeros > 0
    assert len(arrows) == every
    assert any(list(line.get_ydata()) == [1 / 2000] * 2 for line in axes.lines)
    assert any(t.get_text() == "1/n" for t in axes.texts)
    assert axes.get_ylim()[0] < 1 / 2000


def test_seeds_are_joined_with_an_interval():
    scores = drawn({"t": lambda x: logistic(x - 2)}, sizes=5, seeds=3)
    found = spreads(scores, "flops")
    assert len(found) == 5
    assert all(len(s.seeds) == 3 and s.low < s.mean < s.high for s in found)
    low, high = wilson(0.0, 100)
    assert low == 0
    assert high == pytest.approx(1.96**2 / (100 + 1.96**2))


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_files(gpt3, suffix, tmp_path):
    path = tmp_path / f"figure.{suffix}"
    save_figure(emergence_figure(gpt3), path)
    assert path.stat().st_size > 5000


def test_sharp_and_smooth_need_both(gpt3):
    with pytest.raises(BadInputError, match="no task with a sharp and a smooth metric"):
        sharp_and_smooth_figure(gpt3)
    figure = sharp_and_smooth_figure(emergence(read_scores("gpt3"), tasks=["LAMBADA"]))
    assert [axes.texts[0].get_text() for axes in figure.axes[:2]] == ["accuracy", "perplexity"]


def test_in_context_curves_are_a_line_a_size():
    figure = in_context_figure(read_scores("gpt3").choose(tasks=["2D+"]))
    (axes,) = figure.axes
    curves = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert len(curves) == 8
    assert list(curves[-1].get_ydata()) == pytest.approx([0.769, 0.996, 1.0])
    with pytest.raises(BadInputError, match="several numbers of examples"):
        in_context_figure(read_scores("gpt3").choose(shots=[0]))


def test_too_many_panels_are_refused():
    answer = emergence(drawn({f"t{i}": lambda x: 0.5 for i in range(49)}, sizes=2))
    with pytest.raises(BadInputError, match="49 panels do not fit one figure"):
        emergence_figure(answer)
