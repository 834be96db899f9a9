import re

import numpy as np
import pytest
from pydantic import ValidationError

from scaling.config.data import DataConfig, TasksConfig
from scaling.config.load import load_run
from scaling.data.corpus import describe, open_corpus
from scaling.data.sources import TaskDocuments
from scaling.runtime.errors import BadInputError
from scaling.tasks import TASKS


def with_tasks(jsonl, **options):
    return DataConfig(source=jsonl, sequence_length=32, validation_fraction=0.3, tasks=TasksConfig(**options))


def documents(corpus, split):
    side = getattr(corpus.store, split)
    return [
        corpus.tokenizer.decode(side.ids[a:b]) for a, b in zip(side.offsets, side.offsets[1:], strict=False)
    ]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_share_is_of_training_tokens_and_validation_is_of_text_alone(jsonl, share):
    plain = open_corpus(DataConfig(source=jsonl, sequence_length=32, validation_fraction=0.3))
    mixed = open_corpus(with_tasks(jsonl, names=["add2", "copy8"], share=share, shots=3))
    text = plain.store.train.tokens
    added = mixed.store.train.tokens - text
    longest = 1 + 4 * len("c abcdefgh=abcdefgh\n")
    assert 0 <= added - text * share / (1 - share) < longest
    assert documents(mixed, "validation") == documents(plain, "validation")
    assert documents(mixed, "train")[: plain.store.train.documents] == documents(plain, "train")
    np.testing.assert_array_equal(
        next(iter(mixed.validation_batches(2)))["inputs"], next(iter(plain.validation_batches(2)))["inputs"]
    )
    assert mixed.fingerprint != plain.fingerprint


def test_no_test_instance_is_ever_trained_on(jsonl):
    """All test questions of 2-digit sums, and their commuted ones, looked for in the training text itself."""
    corpus = open_corpus(with_tasks(jsonl, names=["add2", "add2r", "add3"], share=0.99, shots=8))
    text = corpus.tokenizer.decode(corpus.store.train.ids)
    shown = {tuple(sorted(map(int, pair))) for pair in re.findall(r"^r?(\d+)\+(\d+)=", text, re.M)}
    held = {
        tuple(sorted(map(int, TASKS["add2"].episode("test", i, 0).query.question.split("+"))))
        for i in range(TASKS["add2"].size("test"))
    }
    assert len(shown) > 3_000 and not shown & held


def test_turns_seed_and_reasoning():
    config = {"names": ("add2", "copy4", "add2"), "shots": 1}
    texts = [TaskDocuments(TasksConfig(**config))[i] for i in range(6)]
    assert [text.startswith("c ") for text in texts] == [False, True, False] * 2 and len(set(texts)) == 6
    assert texts == [TaskDocuments(TasksConfig(**config))[i] for i in range(6)]
    assert texts != [TaskDocuments(TasksConfig(**config, seed=1))[i] for i in range(6)]
    chain = TaskDocuments(TasksConfig(names=("chain4",), shots=0, reasoning=True))
    assert re.fullmatch(r"m \d([+-]\d){4}=\d,\d,\d:\d\n", chain[0])
    names = {
        TaskDocuments(TasksConfig(**{**config, **other})).identity
        for other in ({}, {"seed": 1}, {"shots": 2}, {"reasoning": True}, {"names": ("add2",)})
    }
    assert len(names) == 5


def test_tasks_on_words_name_their_words(monkeypatch):
    from scaling.data.sources import tasks

    monkeypatch.setattr(tasks, "words_identity", lambda: "of-these-words")
    assert TaskDocuments(TasksConfig(names=("cycle",))).identity.endswith("of-these-words")
    assert "of-these-words" not in TaskDocuments(TasksConfig(names=("copy4",))).identity


def test_from_the_cache(jsonl, cache):
    config = with_tasks(jsonl, names=["copy4"])
    assert describe(config) == describe(config)
    assert len(list((cache / "tokens").iterdir())) == 1


def test_an_unknown_task(jsonl):
    with pytest.raises(BadInputError, match=r"^task 'copy5': unknown; did you mean copy"):
        open_corpus(with_tasks(jsonl, names=["copy5"]))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"names": ["add2"], "share": 0.0},
            "data.tasks.share: 0.0 is not accepted: input should be greater than 0",
        ),
        (
            {"names": ["add2"], "share": 1.0},
            "data.tasks.share: 1.0 is not accepted: input should be less than 1",
        ),
        ({"names": []}, "data.tasks.names: "),
        ({"names": ["add2"], "shots": -1}, "data.tasks.shots: -1 is not accepted"),
        ({"share": 0.5}, "data.tasks.names: missing"),
        ({"names": ["add2"], "shares": 0.5}, "data.tasks.shares: unknown field"),
    ],
)
def test_tasks_that_are_refused(options, says):
    train = {"steps": 1, "batch_tokens": 128, "learning_rate": 1e-3}
    with pytest.raises(BadInputError, match=re.escape(says)) as error:
        load_run({"model": "cpu-213k", "data": {"sequence_length": 128, "tasks": options}, "train": train})
    assert "\n" not in str(error.value)
    with pytest.raises(ValidationError):
        TasksConfig(**options)


def test_the_id_of_a_run_without_tasks_says_nothing_of_them():
    """So that runs of before there were tasks keep their ids."""
    train = {"steps": 1, "batch_tokens": 128, "learning_rate": 1e-3}
    tree = {"name": "a", "model": "cpu-213k", "data": {"sequence_length": 128}, "train": train}
    plain = load_run(tree)
    assert plain.id() == "afa0502c2157"  # that of November 2026, before there were tasks and parametrisations
    mixed = load_run({**tree, "data": {"sequence_length": 128, "tasks": {"names": ["add2"]}}})
    assert mixed.id() != plain.id()
