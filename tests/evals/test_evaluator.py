"""A task put to a model whose probabilities are known: scores in closed form, prompts as they are read."""

from typing import Any

import numpy as np
import pytest

from scaling.data.tokenizers import ByteTokenizer
from scaling.evals.evaluator import EvalSettings, Evaluator, chosen_items
from scaling.evals.inference import Request, Scored
from scaling.evals.items import BenchmarkTask, Question, choice_question
from scaling.evals.prompts import PromptEncoder, template_named
from scaling.runtime.errors import BadInputError
from scaling.tasks.demonstrations import Template
from scaling.tasks.task import Example


class Known:
    """An engine whose model gives byte b the log-probability -b / 100, and writes a fixed text."""

    start, encoder_decoder = 256, False

    def __init__(self, positions: int = 200, text: str = " 12\nmore") -> None:
        self.config = type("Config", (), {"max_length": positions})
        self.text = text
        self.contexts: list[str] = []

    def fits(self, context: tuple[int, ...], answer_tokens: int) -> bool:
        return len(context) + answer_tokens - 1 <= self.config.max_length

    def score(self, requests: list[Request]) -> list[Scored]:
        self.contexts += [bytes(r.context[1:]).decode() for r in requests]
        return [
            Scored(tuple(-id_ / 100 for id_ in r.answer), tuple(id_ < 100 for id_ in r.answer))
            for r in requests
        ]

    def generate(
        self, contexts: list[tuple[int, ...]], *, samples: int = 1, **how: Any
    ) -> list[list[list[int]]]:
        self.contexts += [bytes(context[1:]).decode() for context in contexts]
        texts = [list(self.text.encode()), list(b"wrong\n")]
        return [[texts[k % 2] for k in range(samples)] for _ in contexts]


def evaluator(**of_engine: Any) -> tuple[Evaluator, Known]:
    engine = Known(**of_engine)
    return Evaluator(engine, PromptEncoder(ByteTokenizer(), 256)), engine  # type: ignore[arg-type]


def how(name: str = "question-answer", **changes: Any) -> EvalSettings:
    return EvalSettings(template_named(name), **changes)


def test_choices_are_compared_three_ways() -> None:
    """Sums favour the short choice, means the one of low bytes; asked or not, this model says the same."""
    source = BenchmarkTask(
        "t",
        (choice_question("x", ("b", "!!!!!!"), 1), choice_question("y", ("b", "!!!!!!"), 0)),
        ("choice_accuracy", "brier"),
    )
    one, two = evaluator()[0].evaluate(source, how()).items
    short, long = -(32 + 98) / 100, -(32 + 6 * 33) / 100
    assert one.choice_log_probs == pytest.approx((short, long))
    assert (one.values["choice_accuracy"], two.values["choice_accuracy"]) == (0, 1)
    assert one.values["choice_accuracy_per_token"] == 1  # -33 / 100 a token against -65
    assert one.values["choice_accuracy_unconditional"] == 0  # both 0: the first is taken
    p = 1 / (1 + np.exp(short - long))
    assert one.values["brier"] == pytest.approx(2 * (1 - p) ** 2)
    assert one.values["answer_log_prob"] == pytest.approx(long)
    scores = evaluator()[0].evaluate(source, how()).scores(source, how())
    assert scores.n == 2 and scores.scores["choice_accuracy"].value == 0.5
    assert next(iter(scores.scores)) == "choice_accuracy" and scores.answer_tokens == 4.5


def test_the_unconditional_likelihood_is_that_after_the_answers_prefix() -> None:
    one, engine = evaluator()
    one.evaluate(BenchmarkTask("t", (choice_question("x", ("a", "b"), 0),), ("choice_accuracy",)), how())
    assert engine.contexts == ["Question: x\nAnswer:"] * 2 + ["Answer:"] * 2


def test_written_answers_end_at_the_stop() -> None:
    source = BenchmarkTask(
        "t",
        tuple(Question(Example("q", a), (a, "twelve")) for a in ("12", "13")),
        ("exact_match", "edit_similarity", "token_accuracy", "answer_log_prob"),
    )
    one, two = evaluator()[0].evaluate(source, how()).items
    assert one.generated == two.generated == "12"
    assert (one.values["exact_match"], two.values["exact_match"]) == (1, 0)
    assert two.values["edit_similarity"] == 0.5
    assert two.values["answer_log_prob"] == pytest.approx(-(32 + 49 + 51) / 100)
    assert two.values["token_accuracy"] == 1


def test_pass_at_k_counts_right_draws() -> None:
    source = BenchmarkTask("t", (Question(Example("q", "12"), ("12",)),), ("exact_match",))
    (one,) = evaluator()[0].evaluate(source, how(pass_at=(1, 2), samples=4)).items
    assert one.values["pass_at_1"] == pytest.approx(0.5)  # every other draw is right
    assert one.values["pass_at_2"] == pytest.approx(1 - 1 / 6)


def test_a_prompt_that_does_not_fit_is_skipped_and_counted() -> None:
    asked = tuple(Question(Example("x" * n, "1"), ("1",)) for n in (1, 20, 40))
    source = BenchmarkTask("t", asked, ("answer_log_prob",))
    outcome = evaluator(positions=50)[0].evaluate(source, how())
    assert [one.index for one in outcome.items] == [0, 1] and outcome.skipped == 1
    assert (
        not evaluator(positions=5)[0].evaluate(BenchmarkTask("t", asked, ("answer_log_prob",)), how()).items
    )


def test_reasoning_is_written_first_and_the_answer_after_the_marker() -> None:
    source = BenchmarkTask(
        "t", (Question(Example("2+3-1", "4", reasoning="5"), ("4",)),), ("answer_log_prob",)
    )
    one, engine = evaluator(text="5,9:7\n")
    one.evaluate(source, how("chain"))
    assert engine.contexts == ["2+3-1=", "2+3-1=5,9:"]
    template = template_named("chain-of-thought")
    shot = template.prefix("", [Example("2+3-1", "4", reasoning="2+3 is 5.")])
    assert shot == "Q: 2+3-1\nA: Let's think step by step. 2+3 is 5. So the answer is 4\n\n"


def test_descriptions_stand_at_the_head() -> None:
    prefix = template_named("described").prefix("Add.", [Example("1+1", "2")])
    assert prefix == "Add.\n\nQ: 1+1\nA: 2\n\n"
    assert template_named("instruction").prefix("Add.", []) == "Add. Answer each question.\n\n"
    assert Template("x", stops=("\n", ";")).answer_in(" a ; b\nc") == "a"


def test_pairs_are_cut_where_the_tokenizer_lets_them() -> None:
    encoder = PromptEncoder(ByteTokenizer(), 256)
    assert encoder.pair("A: ", "x") == ((256, *b"A:"), tuple(b" x"))
    assert encoder.pair("", "x") == ((256,), tuple(b"x"))
    assert PromptEncoder(ByteTokenizer(), None).pair("ab", "c") == (tuple(b"ab"), tuple(b"c"))
    assert encoder.shared("ab", encoder.context("abc")) == 3


def test_items_are_drawn_under_the_seed() -> None:
    assert chosen_items(None, 3, 0) == chosen_items(3, 9, 0) == [0, 1, 2]
    drawn = chosen_items(1000, 10, 0)
    assert len(set(drawn)) == 10 and drawn == sorted(drawn) == chosen_items(1000, 10, 0)
    assert drawn != chosen_items(1000, 10, 1)


def test_unknown_metrics_and_templates_are_refused() -> None:
    with pytest.raises(BadInputError, match="metric 'bleu': known: choice_accuracy"):
        evaluator()[0].evaluate(BenchmarkTask("t", (Question(Example("q", "1"), ("1",)),), ("bleu",)), how())
    with pytest.raises(BadInputError, match="--template x: unknown; known: plain, chain"):
        template_named("x")
