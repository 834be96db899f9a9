"""Runs on mixtures: resumed bit for bit, branches, losses of each source, best-fit packing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaling.config.load import load_run
from scaling.config.record import RunRecord, SourceLoss
from scaling.config.run import RunConfig
from scaling.runtime.errors import BadInputError
from scaling.train.loop import train
from scaling.train.validation import mixed
from tests.train.conftest import MakeRun, trunk_losses
from tests.train.test_loop import Breaks


@pytest.fixture
def mixture(make_run: MakeRun, corpus: str, tmp_path: Path) -> Any:
    """A run on two sources: code is capped after an epoch, and the last fifth reads mostly code or web."""
    path = tmp_path / "code.jsonl"
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("xyz \n"), rng.integers(10, 90))) for _ in range(40)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    sources = {
        "web": {"source": corpus, "weight": 0.75},
        "code": {"source": f"jsonl:{path}", "weight": 0.25, "max_epochs": 1, "exhausted": "cap"},
    }
    schedule = [{"at": 0.8, "weights": {"web": 0.5, "code": 0.5}}]

    def make(*overrides: str, **settings: Any) -> RunConfig:
        tree = make_run(**settings).model_dump(mode="json")
        tree["data"] |= {"mixture": sources, "mixture_schedule": schedule}
        del tree["data"]["source"]
        return load_run(tree, overrides)

    return make


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_mixture_resumes_bit_for_bit(mixture: Any, tmp_path: Path) -> None:
    """Broken before the weights change and code runs out."""
    run = mixture("data.packing=best_fit", eval_every=10, steps=30, checkpoint_every=10)
    whole = train(run, tmp_path / "whole")
    with pytest.raises(RuntimeError):
        train(run, tmp_path / "broken", Breaks(22))
    broken = train(run, tmp_path / "broken")
    assert trunk_losses(tmp_path / "broken") == trunk_losses(tmp_path / "whole")
    assert broken.points[0].by_source == whole.points[0].by_source
    assert (broken.mixture, broken.packing) == (whole.mixture, whole.packing)
    check_record(run, whole, tmp_path / "whole")


def check_record(run: RunConfig, record: RunRecord, path: Path) -> None:
    """Headline losses are the weighted mean of the sources'; shares and padding are there."""
    by_source, shares = record.by_source, record.mixture
    assert by_source is not None and shares is not None and record.packing is not None
    assert list(by_source) == list(shares) == ["web", "code"]
    assert record.validation_loss == pytest.approx(
        0.75 * by_source["web"].loss + 0.25 * by_source["code"].loss
    )
    assert record.bytes_per_token == pytest.approx(
        0.75 * (by_source["web"].bytes_per_token or 0) + 0.25 * (by_source["code"].bytes_per_token or 0)
    )
    assert sum(one.tokens for one in shares.values()) == record.tokens == 30 * 256
    assert shares["code"].epochs == 1.0, "capped"
    assert record.packing.method == "best_fit"
    assert 0 < record.packing.padding < 0.3
    assert record.dataset == run.data.name
    found = [line for line in lines(path) if "validation_loss" in line]
    assert [line["step"] for line in found] == [10, 20, 30]
    assert found[-1]["by_source"] == {name: one.model_dump() for name, one in by_source.items()}
    tensorboard = b"".join(file.read_bytes() for file in (path / "tensorboard").iterdir())
    assert b"validation_loss/code" in tensorboard and b"bits_per_byte/web" in tensorboard


@pytest.mark.slow
def test_a_branch_is_the_run_of_its_own_budget(mixture: Any, tmp_path: Path) -> None:
    """Each budget anneals in its own last fifth, so a trunk with a branch is two runs, bit for bit."""
    budgets = (12 * 256, 24 * 256)
    settings = {"steps": None, "schedule": "wsd", "cooldown_fraction": 0.25, "checkpoint_every": None}
    trunk = mixture(tokens=budgets[1], branches=budgets[:1], **settings)
    with pytest.raises(RuntimeError):
        train(trunk, tmp_path / "trunk", Breaks(11))  # in the branch
    record = train(trunk, tmp_path / "trunk")
    assert [point.tokens for point in record.points] == list(budgets)
    for point in record.points:
        alone = train(mixture(tokens=point.tokens, **settings), tmp_path / str(point.tokens))
        assert alone.points[0].by_source == point.by_source


def test_a_source_that_runs_dry_leaves_no_directory(mixture: Any, tmp_path: Path) -> None:
    run = mixture("data.mixture.code.exhausted=refuse", steps=60)
    with pytest.raises(BadInputError, match=r"data.mixture.code.max_epochs=1: enough for \d+ steps"):
        train(run, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_source_is_refused_before_its_epochs_end(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("data.max_epochs=1", steps=4000)
    with pytest.raises(BadInputError, match=r"data.max_epochs=1: .* the run needs, which takes \d.* epochs"):
        train(run, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_losses_of_a_mixture_by_hand() -> None:
    """2 bits per byte at 4 bytes per token, and 1 at 2: by tokens 3:1, 6.5 bits over 3.5 bytes."""
    ln2 = float(np.log(2))
    found = mixed(
        {
            "a": SourceLoss(loss=8 * ln2, bits_per_byte=2.0),
            "b": SourceLoss(loss=2 * ln2, bits_per_byte=1.0),
            "late": SourceLoss(loss=99.0, bits_per_byte=None),
        },
        {"a": 0.75, "b": 0.25, "late": 0.0},
    )
    assert found.loss == pytest.approx(6.5 * ln2)
    assert found.bits_per_byte == pytest.approx(6.5 / 3.5)
    assert mixed({"a": SourceLoss(loss=1.0, bits_per_byte=None)}, {"a": 1.0}).bits_per_byte is None


def test_an_ngram_counts_each_source_in_its_share(mixture: Any, tmp_path: Path) -> None:
    """One on web alone is worse on code."""
    order = {"family": "ngram", "name": "trigram", "vocab_size": 257, "max_length": 32, "order": 3}
    tree = mixture(tokens=24 * 256, steps=None).model_dump(mode="json")
    both = train(load_run({**tree, "model": order}), tmp_path / "both")
    tree["data"]["mixture"] = {"web": tree["data"]["mixture"]["web"] | {"weight": 1.0}}
    tree["data"]["mixture"]["code"] = mixture().data.mixture["code"].model_dump() | {"weight": None}
    tree["data"]["mixture_schedule"] = [{"at": 0.999, "weights": {"code": 1.0}}]
    web = train(load_run({**tree, "model": order}), tmp_path / "web")
    assert both.by_source is not None and web.by_source is not None
    assert both.by_source["code"].loss < web.by_source["code"].loss - 0.5
    assert web.validation_loss == web.by_source["web"].loss
    assert both.points[-1].by_source == both.by_source
