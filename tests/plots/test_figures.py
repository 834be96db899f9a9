import json

import numpy as np
import pytest

from scaling.laws import fit_points, read_points
from scaling.laws.read.curves import read_curves, read_metrics
from scaling.laws.read.inputs import Sources
from scaling.plots.kinds import draw
from scaling.plots.labels import scientific, short
from scaling.plots.style import save_figure
from scaling.runtime.errors import BadInputError
from tests.laws.known import few_starts
from tests.plots.sweep_of import write_sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return write_sweep(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def law(sweep):
    with few_starts():
        return fit_points(read_points(sweep), bootstrap=20, holdout=1)


@pytest.mark.parametrize("kind", ["loss-vs-compute", "loss-vs-tokens", "predicted-vs-measured"])
def test_every_figure_names_its_units_and_countings(kind, sweep, law):
    figure = draw(kind, Sources.of(read_points(sweep), law, read_curves(sweep)))
    axes = figure.axes[0]
    assert "FLOPs: 6ND" in axes.get_xlabel() or "tokens" in axes.get_xlabel()
    assert any("N: parameters without embeddings" in text.get_text() for text in figure.texts)
    assert axes.get_ylabel()
    assert axes.get_title(loc="left")


def test_held_out_points_are_hollow_and_predicted(sweep, law):
    axes = draw("loss-vs-compute", Sources.of(read_points(sweep), law)).axes[0]
    hollow = [
        c
        for c in axes.collections
        if len(c.get_offsets()) == 3 and np.allclose(c.get_facecolor()[0], [1, 1, 1, 1])
    ]
    assert len(hollow) == 1
    np.testing.assert_allclose(
        sorted(hollow[0].get_offsets()[:, 1]), sorted(p.measured for p in law.holdout.predictions)
    )


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_formats_by_suffix(suffix, sweep, tmp_path):
    path = tmp_path / f"figure{suffix}"
    save_figure(draw("loss-vs-tokens", Sources.of(read_points(sweep))), path)
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix.lower()]
    assert path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "words"), [("a.jpg", "suffix '.jpg'"), ("a", "none"), ("no/a.png", "no does not exist")]
)
def test_refused_paths_leave_nothing(name, words, sweep, tmp_path):
    with pytest.raises(BadInputError, match=words):
        save_figure(draw("loss-vs-tokens", Sources.of(read_points(sweep))), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_unknown_kind_and_missing_law(sweep):
    with pytest.raises(BadInputError, match="known: loss-vs-compute"):
        draw("pie", Sources.of(read_points(sweep)))
    with pytest.raises(BadInputError, match="needs a law"):
        draw("predicted-vs-measured", Sources.of(read_points(sweep)))


def test_curves_separate_trunk_and_branches(sweep):
    curves = read_curves(sweep)
    assert len(curves) == 6 * 4
    trunk = next(c for c in curves if c.branch is None)
    np.testing.assert_allclose(trunk.flops, 6 * trunk.params * trunk.tokens)
    assert (np.diff(trunk.tokens) > 0).all()
    assert np.std(np.diff(np.log(trunk.smoothed()))) < np.std(np.diff(np.log(trunk.loss)))


def test_only_the_last_line_may_be_truncated(tmp_path):
    good = json.dumps({"step": 1, "loss": 2.0})
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{good}\n{good}\n{{"step": 2, "lo')
    assert len(read_metrics(path)) == 2
    path.write_text(f'{good}\n{{"st\n{good}\n')
    with pytest.raises(BadInputError, match="line 2: not JSON"):
        read_metrics(path)


@pytest.mark.parametrize(
    ("value", "text"),
    [(124_439_808, "124M"), (1.5e9, "1.5B"), (870, "870"), (59_000, "59k"), (999_999, "1M")],
)
def test_counts_as_people_say_them(value, text):
    assert short(value) == text


def test_powers_of_ten():
    assert scientific(1.23e18) == "1.2 \N{MULTIPLICATION SIGN} 10¹⁸"
    assert scientific(1e-9) == "10⁻⁹"
