"""Any permutation of the rows gives the same document, bit for bit."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.laws import LAWS, fit_points, holdout_mask, read_points
from scaling.laws.frontier.approaches import compare_approaches
from scaling.laws.frontier.budgets import isoflop_groups
from scaling.laws.points import canonical
from tests.laws.known import few_starts, ladder, points_of
from tests.laws.test_forms import made
from tests.laws.test_training_envelope import curves
from tests.laws.valleys import valleys


def same(a, b) -> bool:
    """Equal to the last bit, NaN with NaN."""
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)]
    return all(x.tobytes() == y.tobytes() if isinstance(x, np.ndarray) else x == y for x, y in pairs)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_permuted_points_are_one_set_of_points(data):
    """Ties in every column, missing cells, repeated rows, runs with several points."""
    n = data.draw(st.integers(1, 9))
    few = st.lists(st.sampled_from([1e8, 2e8, 4e8]), min_size=n, max_size=n)
    loss = data.draw(st.lists(st.sampled_from([3.0, 3.1]), min_size=n, max_size=n))
    groups = data.draw(st.lists(st.sampled_from(["a", "b", "line 7", "line 9"]), min_size=n, max_size=n))
    rates = data.draw(st.lists(st.sampled_from([1e-3, np.nan]), min_size=n, max_size=n))
    points = points_of(data.draw(few), data.draw(few), loss, groups)
    places = tuple(g if g.startswith("line") else f"line {100 + i}" for i, g in enumerate(groups))
    points = replace(points, learning_rate=np.array(rates), labels=tuple(groups), places=places)
    order = data.draw(st.permutations(range(n)))
    one, other = canonical(points), canonical(points.subset(order))
    assert same(one, other)
    assert same(canonical(one), one)
    assert not any(name.startswith("line") for name in (*one.groups, *one.labels))


def permuted(points, seed=1):
    return points.subset(np.random.default_rng(seed).permutation(len(points)).tolist())


QUICK = {"compute-envelope", "learning-rate"}  # one of each kind of selection


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in LAWS])
def test_every_law_gives_the_same_document(name):
    truth = {"downstream-error": "gadre-error"}.get(name, name)
    points = made("broken-compute" if name.startswith("broken") else truth, 0.003)
    options = {"bootstrap": 8, "holdout": 2, "rolling": 2, "sensitivity": True}
    if name != "downstream-error":  # least squares, without a delta
        options["delta"] = 0.05
    with few_starts():
        one, other = (fit_points(p, name, **options) for p in (points, permuted(points)))
    assert one.model_dump_json() == other.model_dump_json()


def test_every_approach_gives_the_same_document():
    points = valleys(span=3, noise=1e-3)
    points.loss[20:23] = points.loss[20:23].min()  # ties
    trunks = curves()
    with few_starts():
        law = fit_points(points, bootstrap=8, profile=True)
    found = [
        compare_approaches(p, c, law, method, bootstrap=20)
        for method in ("windowed", "parabola", "akima")
        for p, c in ((points, trunks), (permuted(points), trunks[::-1]))
    ]
    assert found[0] == found[1]
    assert found[2] == found[3]
    assert found[4] == found[5]


def test_held_out_rows_and_groups_do_not_depend_on_the_order():
    points = ladder(0.003)
    order = np.random.default_rng(0).permutation(len(points))
    mixed = points.subset(order.tolist())
    assert (holdout_mask(mixed, 0.3) == holdout_mask(points, 0.3)[order]).all()
    sweep = valleys(noise=1e-3)
    order = np.random.default_rng(0).permutation(len(sweep))
    groups = isoflop_groups(sweep.subset(order.tolist()))
    assert [(b, sorted(order[m].tolist())) for b, m in groups] == [
        (b, m.tolist()) for b, m in isoflop_groups(sweep)
    ]


def test_rows_without_names_are_named_by_their_numbers(tmp_path):
    """A line number would tell the order."""
    points = ladder(0.003)
    rows = [
        f"{n!r},{d!r},{y!r}"
        for n, d, y in zip(*(map(float, c) for c in (points.params, points.tokens, points.loss)), strict=True)
    ]
    documents = []
    for i, lines in enumerate((rows, rows[::-1])):
        file = tmp_path / f"{i}" / "points.csv"
        file.parent.mkdir()
        file.write_text("\n".join(["params,tokens,loss", *lines]) + "\n")
        with few_starts():
            documents.append(fit_points(read_points(file), bootstrap=8).model_dump() | {"source": ""})
    assert documents[0] == documents[1]
    held = documents[0]["holdout"]["predictions"][-1]
    assert held["label"] == held["group"] == "params 1e+10, tokens 4e+11"
