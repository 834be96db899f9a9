import numpy as np
import pytest

from scaling.config.record import wilson
from scaling.laws.emergence import emergence, read_scores
from scaling.laws.emergence.score_table import as_scores
from scaling.laws.emergence.spread import spreads
from scaling.plots.emergence import emergence_figure, sharp_and_smooth_figure
from scaling.plots.few_shot import in_context_figure
from scaling.plots.style import save_figure
from scaling.runtime.errors import BadInputError
from tests.laws.emergent import drawn, logistic


@pytest.fixture(scope="module")
def gpt3():
    return emergence(read_scores("gpt3"), tasks=["4D+", "WiC"])


@pytest.fixture(scope="module")
def lambada():
    return emergence(read_scores("gpt3"), tasks=["LAMBADA"])


def test_a_panel_a_task_with_units_verdicts_and_chance(gpt3):
    figure = emergence_figure(gpt3)
    assert figure.get_supxlabel() == "Training compute C (FLOPs)"
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left").strip() for axes in shown] == ["4D+", "WiC"]
    words = [text.get_text() for text in shown[0].get_legend().get_texts()]
    assert [w.split(": ")[0] for w in words] == ["0 shots", "1 shot", "50 shots"]
    assert any(list(line.get_ydata()) == [0.5, 0.5] for line in shown[1].lines)


@pytest.mark.parametrize("height", [3.0, 9.0])
def test_thresholds_are_drawn_between_the_panel_and_its_title(lambada, height):
    figure = sharp_and_smooth_figure(lambada)
    figure.set_figheight(height)
    figure.draw_without_rendering()
    strips = 0
    for axes in figure.axes:
        drawn = [line.get_window_extent() for line in axes.lines if not line.get_clip_on()]
        title, (metric, *_) = axes._left_title.get_window_extent(), axes.texts
        assert all(metric.get_window_extent().y1 <= box.y0 <= box.y1 <= title.y0 for box in drawn)
        strips += len(drawn) // 2
    assert strips >= 2


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
    z2 = 1.959963984540054**2
    assert high == pytest.approx(z2 / (100 + z2))


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
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "N = 125M"
    with pytest.raises(BadInputError, match="several numbers of examples"):
        in_context_figure(read_scores("gpt3").choose(shots=[0]))


def test_in_context_panels_with_a_chance_level_start_at_no_examples():
    figure = in_context_figure(read_scores("gpt3").choose(tasks=["WiC"]))
    (axes,) = figure.axes
    figure.draw_without_rendering()
    assert -0.5 < axes.get_xlim()[0] <= 0
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "chance"


def test_too_many_panels_are_refused():
    answer = emergence(drawn({f"t{i}": lambda x: 0.5 for i in range(49)}, sizes=2))
    with pytest.raises(BadInputError, match="49 panels do not fit one figure"):
        emergence_figure(answer)


@pytest.mark.slow
def test_seeds_that_have_it_or_lack_it_are_drawn_as_a_probability():
    def by_chance(x, random):
        return 0.99 if random.random() < logistic(4 * (x - 2)) else 0.01

    random = np.random.default_rng(0)
    rows = {name: [] for name in ("task", "metric", "group", "score", "params", "n", "seed")}
    for x in np.linspace(0, 4, 6):
        for seed in range(6):
            score = random.binomial(100, by_chance(x, random)) / 100
            row = ("t", "exact_match", f"{x}-{seed}", score, 1e6 * 10**x, 100, seed)
            for column, cell in zip(rows.values(), row, strict=True):
                column.append(cell)
    answer = emergence(as_scores(rows, "drawn"))
    figure = emergence_figure(answer)
    assert answer.document.verdicts[0].word == "bimodal"
    assert any("probability" in text.get_text() for text in figure.legends[0].get_texts())
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert 0 <= band.min() < band.max() <= 1


def test_intervals_of_seeds_stay_within_the_metric():
    rows = {"task": ["t"] * 3, "metric": ["answer_log_prob"] * 3, "group": list("abc"), "params": [1e6] * 3,
            "score": [-0.01, -0.2, -0.9]}  # fmt: skip
    (found,) = spreads(as_scores(rows, "drawn"), "params")
    assert found.high <= 0
