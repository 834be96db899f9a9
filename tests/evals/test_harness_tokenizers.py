"""Accuracies of imported checkpoints with their own tokenizers: lm-evaluation-harness agrees to the item."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lm_eval", reason="pip install 'scaling-lab[evals]'")

import lm_eval
from lm_eval.models.huggingface import HFLM

from scaling.evals.evaluator import EvalSettings, Evaluator
from scaling.evals.harness import HarnessModel
from scaling.evals.prompts import template_named
from scaling.hf.convert import import_run
from scaling.sweep.evaluations import evaluator_of
from scaling.tasks.task import Example
from scaling.train.trained import load_trained
from tests.evals.test_harness import SHOTS, Listed, harness_task, instances
from tests.hf.checkpoints import made, peers
from tests.hf.peers import torch

WORDS = ["the", "fox", "été", "日本語", "def", "return", "a", "naïve", "x = 1", "über"]


def examples(count: int) -> tuple[Example, ...]:
    """Choices of different lengths in tokens, characters and bytes."""
    rng = random.Random(7)
    found = []
    for i in range(count):
        choices = tuple(f"{' '.join(rng.choices(WORDS, k=rng.randint(1, 3)))} {k}" for k in range(4))
        found.append(Example(f"{rng.choice(WORDS)} {i}", rng.choice(choices), choices))
    return tuple(found)


@pytest.fixture(
    scope="module", params=["gpt2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("llama", "t5"))]
)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    name, folder = request.param, tmp_path_factory.mktemp("harness")
    longest = {"n_positions" if name != "llama" else "max_position_embeddings": 256}
    source = made(name, folder, **longest)
    import_run(source, folder / "run")
    model, tokenizer = peers(source, name)
    kind = "seq2seq" if name == "t5" else "causal"
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, backend=kind, batch_size=4, max_length=256)
    yield evaluator_of(load_trained(folder / "run", print), None), theirs, name
    torch.set_num_threads(threads)


@pytest.mark.parametrize("shots", [0, pytest.param(SHOTS, marks=pytest.mark.slow)])
def test_accuracies_agree_to_the_item(both: Any, shots: int) -> None:
    evaluator, hf, _ = both
    source = Listed("choice", examples(SHOTS + 12), ("choice_accuracy",))
    task = harness_task(
        source,
        output_type="multiple_choice",
        doc_to_choice="{{choices}}",
        doc_to_target="{{choices.index(a)}}",
        metric_list=[{"metric": name} for name in ("acc", "acc_norm", "acc_bytes")],
    )
    results = lm_eval.simple_evaluate(hf, tasks=[task], num_fewshot=shots, bootstrap_iters=0)
    assert results is not None
    theirs = sorted(results["samples"]["choice"], key=lambda sample: sample["doc_id"])
    outcome = evaluator.evaluate(source, EvalSettings(template_named("plain"), shots))
    assert outcome.skipped == 0 and len(outcome.items) == len(theirs) == 12
    for sample, one in zip(theirs, outcome.items, strict=True):
        log_probs = [float(answer[0]) for answer in sample["filtered_resps"]]
        assert log_probs == pytest.approx(one.choice_log_probs, abs=1e-4)
        assert sample["acc"] == one.values["choice_accuracy"]
        assert sample["acc_norm"] == one.values["acc_norm"]
        assert sample["acc_bytes"] == one.values["acc_bytes"]


def test_the_normalisations_differ(both: Any) -> None:
    """So that the test above can tell them apart."""
    evaluator, _, _ = both
    source = Listed("choice", examples(SHOTS + 40), ("choice_accuracy",))
    items = evaluator.evaluate(source, EvalSettings(template_named("plain"))).items
    names = ("choice_accuracy", "acc_norm", "acc_bytes", "choice_accuracy_per_token")
    values = {tuple(one.values[name] for one in items) for name in names}
    assert len(values) == len(names)


def test_the_harness_asks_our_model_what_it_asks_its_own(both: Any) -> None:
    """Also an empty context, white space at its end, and, of a text alone, its windows."""
    evaluator, hf, name = both
    ours = HarnessModel(evaluator)
    pairs = instances("loglikelihood", ("", "one two"), ("the \n", "fox"), ("a b", " été"), ("x =", " 1"))
    for got, want in zip(ours.loglikelihood(pairs), hf.loglikelihood(pairs), strict=True):
        assert got[0] == pytest.approx(want[0], abs=1e-4)
    if name != "llama":  # the harness scores a <s> after <s>
        texts = instances("loglikelihood_rolling", ("short",), ("the quick brown fox " * 60,))
        assert ours.loglikelihood_rolling(texts) == pytest.approx(hf.loglikelihood_rolling(texts), abs=5e-3)


def test_an_encoder_chooses_by_masking_each_token_in_turn(tmp_path: Path) -> None:
    """Pseudo-log-likelihood (Salazar et al. 2020), computed with transformers one token at a time."""
    source = made("bert", tmp_path, max_position_embeddings=64)
    import_run(source, tmp_path / "run")
    model, tokenizer = peers(source, "bert")
    evaluator: Evaluator = evaluator_of(load_trained(tmp_path / "run", print), None)
    task = Listed("choice", examples(SHOTS + 3), ("choice_accuracy", "brier"))
    outcome = evaluator.evaluate(task, EvalSettings(template_named("plain")))
    assert outcome.skipped == 0
    for one in outcome.items:
        for choice, total in zip(one.item.query.choices, one.choice_log_probs, strict=True):
            context = tokenizer(f"{one.item.query.question}=", add_special_tokens=False)["input_ids"]
            ids = tokenizer(f"{one.item.query.question}={choice}")["input_ids"]
            expected = 0.0
            for k in range(1 + len(context), len(ids) - 1):
                masked = [*ids]
                masked[k] = tokenizer.mask_token_id
                with torch.no_grad():
                    log_p = torch.log_softmax(model(torch.tensor([masked])).logits[0, k], -1)
                expected += float(log_p[ids[k]])
            assert total == pytest.approx(expected, abs=1e-4)
    assert all(np.isfinite(one.values["brier"]) for one in outcome.items)
