"""Budget to loss to error: one interval through both steps, from the same resamples."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scaling.laws import Chain, fit_points
from scaling.laws.downstream.error_fit import resampled
from scaling.laws.forms.laws import LAWS
from scaling.laws.points import Points
from scaling.laws.predict import predicted
from scaling.laws.uncertainty.bootstrap import bootstrap_counts
from scaling.runtime.errors import BadInputError
from tests.end_to_end.conftest import RunCli, run_cli  # noqa: F401
from tests.laws.known import TRUE, few_starts, ladder

ERROR = {"floor": 0.15, "ceiling": 0.75, "nu": 1.0, "k": 4.0, "L0": 2.6}
PLACE = {"params": 6e10, "tokens": 1.2e12}  # 18 times the compute of the largest run


@pytest.fixture(autouse=True)
def quick():
    with few_starts():
        yield


def runs(seed: int) -> Points:
    points = ladder(0.003, seed)
    random = np.random.default_rng([seed, 9])
    errors = LAWS["downstream-error"].predict(ERROR, loss=points.loss) + 0.008 * random.normal(size=28)
    return replace(points, error=errors)


def fitted(points: Points, bootstrap: int = 60, **options):
    return fit_points(points, bootstrap=bootstrap, holdout=None, then="downstream-error", **options)


@pytest.mark.slow
def test_the_interval_through_both_steps_covers() -> None:
    """Eight sets of runs of known laws, predicted at 18 times their compute."""
    loss = LAWS["chinchilla"].predict(TRUE, **PLACE)
    exact = float(LAWS["downstream-error"].predict(ERROR, loss=loss))
    covered = []
    for seed in range(8):
        law = fitted(runs(seed), 40)
        low, high = Chain(law, law.then).interval(**PLACE)
        covered.append(low <= exact <= high)
        assert 0 <= low < high <= 1
    assert sum(covered) >= 7


def test_both_steps_use_the_same_resamples() -> None:
    points = runs(1)
    law = fitted(points, 20)
    counts = bootstrap_counts(LAWS["chinchilla"], points, 20, 0).counts
    again = resampled(law.then.averaging, points.loss, points.error, counts, 0)
    kept = np.array(list(law.then.bootstrap.samples.values())).T
    np.testing.assert_allclose(kept, again, rtol=1e-8)
    # The losses of the first step are of the same rows: a row that draws low losses fits a low law.
    level = np.array([law.form.predict(draw, params=1e9, tokens=2e10) for draw in law.draws()])
    shift = (counts * (points.loss / law.predict(params=points.params, tokens=points.tokens))).sum(1)
    assert np.corrcoef(level, shift)[0, 1] > 0.4


def test_laws_fitted_one_by_one_to_the_same_runs_vary_together() -> None:
    points = runs(1)
    joint = fitted(points, 40)
    options = dict(bootstrap=40, holdout=None)
    loss, error = fit_points(points, **options), fit_points(points, "downstream-error", **options)
    assert loss.bootstrap.runs == error.bootstrap.runs == joint.then.bootstrap.runs
    together = Chain(loss, error)
    assert together.interval(**PLACE) == Chain(joint, joint.then).interval(**PLACE)
    # Of other runs, draws do not belong to each other.
    other = replace(points, groups=tuple(f"other {name}" for name in points.groups))
    apart = fit_points(other, "downstream-error", **options)
    assert apart.bootstrap.samples == error.bootstrap.samples and apart.bootstrap.runs != loss.bootstrap.runs
    assert Chain(loss, apart).interval(**PLACE) != together.interval(**PLACE)


def test_a_resample_that_one_step_rejected_has_no_partner() -> None:
    points = runs(1)
    law = fitted(points, 10)
    rows = law.then.bootstrap
    # The error rejected the resamples 0 and 4: its draws are of 1, 2, 3, 5, ...
    kept = [1, 2, 3, 5, 6, 7, 8, 9]
    samples = {name: tuple(values[i] for i in kept) for name, values in rows.samples.items()}
    fewer = rows.model_copy(update={"samples": samples, "tries": tuple(kept)})
    chain = Chain(law, law.then.model_copy(update={"bootstrap": fewer}))
    losses, errors = chain._pairs()
    assert losses == [law.draws()[i] for i in kept] and errors == [law.then.draws()[i] for i in kept]


def test_errors_of_a_part_of_the_runs_are_enough() -> None:
    points = runs(2)
    points.error[::2] = np.nan
    law = fitted(points, 20)
    assert law.n_points == 28 and law.then.n_points == 14
    told = predicted(law, PLACE)
    assert told.interval is not None and told.interval[0] < told.value < told.interval[1]
    assert told.loss is not None and told.target == "error"
    assert told.run_interval is not None and told.run_interval[0] <= told.interval[0]
    assert told.reach is not None and told.reach.far and set(told.reach.times) >= {"flops", "loss"}


@pytest.mark.parametrize(
    ("law", "change", "words"),
    [
        ("chinchilla", {"error": None}, "has no column error"),
        ("chinchilla", {"error": np.full(28, np.nan)}, "has no column error"),
        ("chinchilla", {"error": np.where(np.arange(28) < 4, 0.5, np.nan)}, "4 points"),
        ("gadre-error", {}, "predicts error"),
    ],
)
def test_refused(law: str, change, words: str) -> None:
    with pytest.raises(BadInputError) as error:
        fit_points(replace(runs(0), **change), law, holdout=None, then="downstream-error")
    assert words in str(error.value)


def test_the_command(run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("COLUMNS", "80")
    points = runs(3)
    rows = [f"{n:.6g},{d:.6g},{loss:.6f},{e:.4f}" for n, d, loss, e in zip(
        points.params, points.tokens, points.loss, points.error, strict=True)]  # fmt: skip
    (tmp_path / "runs.csv").write_text("\n".join(["params,tokens,loss,error", *rows]) + "\n")
    line = ["fit", "runs.csv", "--law", "chinchilla", "--then", "downstream-error"]
    line += ["--predict", "params=6e10,tokens=1.2e12"]
    options = ("--bootstrap", "40", "--no-profile", "--no-sensitivity")
    code, out, err = run_cli(*line, *options, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    told = document["predict"]
    assert told["target"] == "error" and told["method"] == "joint bootstrap of both steps"
    assert told["loss"]["interval"][0] < told["loss"]["value"] < told["loss"]["interval"][1]
    assert document["then"]["law"] == "downstream-error" and document["then"]["averaging"]["forms"]
    assert "rolled hold-out" in told["reach"]["text"]
    assert json.loads((tmp_path / "runs.law.json").read_text())["then"] == document["then"]
    code, out, _ = run_cli(*line, *options)
    lines = out.splitlines()
    at = next(i for i, text in enumerate(lines) if text.startswith("Prediction at"))
    assert all(len(text) <= 80 for text in lines[at:-1])
    assert any(text.startswith("warning: beyond the data") for text in lines[at:])
    code, _, err = run_cli("fit", "runs.csv", "--then", "sigmoid")
    assert code == 2 and "--then 'sigmoid' is not accepted; give downstream-error" in err
