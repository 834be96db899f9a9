"""lm-evaluation-harness and `scaling evaluate` agree on every item, through our adapter and through its own.

The harness's `hf` model runs in torch on the weights that `export-hf` wrote; ours in the engine.
Both read bytes. All data is made here: nothing is downloaded.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="pip install 'scaling-lab[evals]'")

import datasets
import lm_eval
import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from scaling.evals.evaluator import EvalSettings, Evaluator, ScoredItem
from scaling.evals.harness import HarnessModel
from scaling.evals.items import Item
from scaling.evals.prompts import template_named
from scaling.hf.convert import export_run, import_run
from scaling.runtime.errors import BadInputError
from scaling.sweep.evaluations import evaluator_of
from scaling.tasks.task import Example
from scaling.train.trained import load_trained

SHOTS = 3
END = "<|endoftext|>"


def byte_tokenizer() -> Any:
    """`ByteTokenizer` as transformers would load it: ids are bytes, 256 opens and ends a text."""
    letters = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in letters]
    spelled = {byte: chr(byte) for byte in letters} | {b: chr(256 + i) for i, b in enumerate(rest)}
    vocabulary = {spelled[byte]: byte for byte in range(256)} | {END: 256}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 256)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Evaluator, HFLM]]:
    """One random LLaMA: ours from an imported run, theirs from what that run exports."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # its threads wait by spinning, which a busy machine pays for dearly
    folder = tmp_path_factory.mktemp("harness")
    transformers.set_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=257,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.3,
        bos_token_id=256,
        eos_token_id=256,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder / "published")
    import_run(folder / "published", folder / "run", tokenizer="bytes")
    export_run(folder / "run", folder / "exported")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder / "exported").eval()
    evaluator = evaluator_of(load_trained(folder / "run", print), None)
    yield evaluator, HFLM(pretrained=theirs, tokenizer=byte_tokenizer(), batch_size=4, add_bos_token=True)
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Listed:
    """Examples in a list; the first ones are shown."""

    name: str
    examples: tuple[Example, ...]
    metrics: tuple[str, ...]
    description: str = ""
    chance: float | None = None
    template: str = "plain"

    def size(self) -> int:
        return len(self.examples) - SHOTS

    def unusable(self, index: int) -> str | None:
        return None

    def item(self, index: int, shots: int, seed: int) -> Item:
        query = self.examples[SHOTS + index]
        grades = tuple(float(choice == query.answer) for choice in query.choices)
        return Item(self.examples[:shots], query, (query.answer,), grades)


def harness_task(source: Listed, **config: Any) -> Any:
    """The same examples as a task of the harness, with the same words around them."""

    def rows(examples: tuple[Example, ...]) -> Any:
        return datasets.Dataset.from_list(
            [{"q": e.question, "a": e.answer, "choices": list(e.choices)} for e in examples]
        )

    def dataset(**_: Any) -> dict[str, Any]:
        return {"train": rows(source.examples[:SHOTS]), "test": rows(source.examples[SHOTS:])}

    return ConfigurableTask(
        config={
            "task": source.name,
            "custom_dataset": dataset,
            "test_split": "test",
            "fewshot_split": "train",
            "fewshot_config": {"sampler": "first_n"},
            "doc_to_text": "{{q}}=",
            "target_delimiter": "",
            "fewshot_delimiter": "\n",
            **config,
        }
    )


def by_harness(model: Any, task: Any) -> list[dict[str, Any]]:
    """The harness's own record of every item, in order."""
    results = lm_eval.simple_evaluate(model, tasks=[task], num_fewshot=SHOTS, bootstrap_iters=0)
    assert results is not None
    (samples,) = results["samples"].values()
    return sorted(samples, key=lambda sample: sample["doc_id"])


def by_us(evaluator: Evaluator, source: Listed) -> tuple[ScoredItem, ...]:
    outcome = evaluator.evaluate(source, EvalSettings(template_named("plain"), SHOTS, new_tokens=8))
    assert outcome.skipped == 0
    return outcome.items


Models = tuple[Evaluator, HFLM]
SIDES: dict[str, Callable[[Models], Any]] = {"ours": lambda both: HarnessModel(both[0]), "hf": lambda b: b[1]}
EITHER = ["ours", pytest.param("hf", marks=pytest.mark.slow)]


@pytest.mark.slow  # test_harness_tokenizers has a case that is not
@pytest.mark.parametrize("side", EITHER)
def test_multiple_choice_agrees_to_the_item(both: Models, side: str) -> None:
    rng = random.Random(3)
    examples = []
    for _ in range(SHOTS + 12):
        choices = tuple("".join(rng.choices("abcdef", k=rng.randint(1, 5))) + str(i) for i in range(4))
        examples.append(Example(f"{rng.randrange(100)}+{rng.randrange(100)}", rng.choice(choices), choices))
    source = Listed("choice", tuple(examples), ("choice_accuracy",))
    task = harness_task(
        source,
        output_type="multiple_choice",
        doc_to_choice="{{choices}}",
        doc_to_target="{{choices.index(a)}}",
        metric_list=[{"metric": "acc"}, {"metric": "acc_norm"}],
    )
    theirs, ours = by_harness(SIDES[side](both), task), by_us(both[0], source)
    assert len(theirs) == len(ours) == 12
    for sample, asked in zip(theirs, ours, strict=True):
        log_probs = [float(answer[0]) for answer in sample["filtered_resps"]]
        assert log_probs == pytest.approx(asked.choice_log_probs, abs=1e-4)
        assert sample["acc"] == asked.values["choice_accuracy"]
        # The harness divides by characters: of a byte model those are tokens.
        assert sample["acc_norm"] == asked.values["choice_accuracy_per_token"]
    assert 0 < sum(sample["acc"] for sample in theirs) < 12


@pytest.mark.slow
@pytest.mark.parametrize("side", EITHER)
def test_writing_agrees_to_the_item(both: Models, side: str) -> None:
    """Every other answer is what the model writes, so that some items are right."""
    rng = random.Random(5)
    shown = tuple(Example(f"{i}-{i}", str(rng.randrange(50))) for i in range(SHOTS))
    asked = tuple(Example(f"{rng.randrange(1000)}*{i}", "?") for i in range(10))
    metrics = ("exact_match", "answer_log_prob")
    first = by_us(both[0], Listed("writing", shown + asked, metrics))
    answers = [one.generated if i % 2 else "12" for i, one in enumerate(first)]
    right = tuple(Example(e.question, answer or "?") for e, answer in zip(asked, answers, strict=True))
    source = Listed("writing", shown + right, metrics)
    task = harness_task(
        source,
        output_type="generate_until",
        doc_to_target="{{a}}",
        generation_kwargs={"until": ["\n"], "max_gen_toks": 8, "do_sample": False},
        filter_list=[
            {"name": "strip", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}
        ],
        metric_list=[{"metric": "exact_match"}],
    )
    theirs, ours = by_harness(SIDES[side](both), task), by_us(both[0], source)
    for sample, one in zip(theirs, ours, strict=True):
        assert sample["resps"][0][0].strip() == one.generated
        assert sample["exact_match"] == one.values["exact_match"]
    assert 0 < sum(one.values["exact_match"] for one in ours) < 10


def instances(kind: str, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [Instance(kind, {}, args, i) for i, args in enumerate(arguments)]


def test_the_three_questions_are_answered_as_hf_answers_them(both: Models) -> None:
    """Also an empty context, a context that ends in a space, and a text longer than the positions."""
    ours, theirs = HarnessModel(both[0]), both[1]
    # Its cache of logits takes one text cut in two places for one request (0.4.13): these are four texts.
    pairs = instances("loglikelihood", ("", "one two"), ("the ", "end"), ("1+1=", "2"), ("1+1=", "34"))
    for got, want in zip(ours.loglikelihood(pairs), theirs.loglikelihood(pairs), strict=True):
        assert got[0] == pytest.approx(want[0], abs=1e-4) and got[1] == want[1]
    theirs.add_bos_token = False  # a window begins with the start already
    texts = instances("loglikelihood_rolling", ("short",), ("a longer text, " * 20,))
    rolled = theirs.loglikelihood_rolling(texts)
    theirs.add_bos_token = True
    assert ours.loglikelihood_rolling(texts) == pytest.approx(rolled, abs=2e-3)
    how = {"until": ["\n"], "max_gen_toks": 6, "do_sample": False}
    texts = instances("generate_until", ("1+1=", how), ("a longer context=", how))
    assert ours.generate_until(texts) == theirs.generate_until(texts)


def test_what_does_not_fit_is_refused(both: Models) -> None:
    ours = HarnessModel(both[0])
    with pytest.raises(BadInputError, match="128 positions"):
        ours.loglikelihood(instances("loglikelihood", ("x" * 130, "y")))
    with pytest.raises(BadInputError, match="'num_beams' is not known"):
        ours.generate_until(instances("generate_until", ("x", {"num_beams": 4})))
