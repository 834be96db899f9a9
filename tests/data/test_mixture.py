"""Mixtures of corpora: batches, hosts, resume, limits, checkpoints of other mixtures, bad configs."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaling.config.data import DataConfig
from scaling.config.load import load_run, validate
from scaling.config.objective import MaskedObjective
from scaling.config.run import RunConfig
from scaling.data.batches import BatchIterator, BatchSchedule, StepBatches
from scaling.data.corpus import open_corpus
from scaling.data.mixture import MixtureCorpus, open_data, open_mixture
from scaling.data.store.prepare import prepare
from scaling.runtime.errors import BadInputError
from scaling.runtime.yaml_files import dump_yaml, parse_yaml

L = 16
SCHEDULE = BatchSchedule(((0, 4), (3, 8)))
LETTERS = {"web": "abc", "code": "xyz", "math": "123"}


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, str]:
    """Three corpora whose texts share no letter."""
    rng, found = np.random.default_rng(0), {}
    for name, letters in LETTERS.items():
        path = tmp_path / f"{name}.jsonl"
        texts = ["".join(rng.choice(list(letters), rng.integers(5, 60))) for _ in range(80)]
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        found[name] = f"jsonl:{path}"
    return found


def tree(sources: dict[str, str], **changes: Any) -> dict[str, Any]:
    weights = {"web": 0.5, "code": 0.3, "math": 0.2}
    mixture = {name: {"source": sources[name], "weight": weight} for name, weight in weights.items()}
    for name in weights:
        mixture[name] |= changes.pop(name, {})
    return {"mixture": mixture, "sequence_length": L, "validation_fraction": 0.2, **changes}


def mixture_of(sources: dict[str, str], **changes: Any) -> MixtureCorpus:
    return open_mixture(DataConfig.model_validate(tree(sources, **changes)))


def take(batches: BatchIterator, count: int) -> list[dict[str, np.ndarray]]:
    return [next(batches) for _ in range(count)]


def same(left: list[dict[str, np.ndarray]], right: list[dict[str, np.ndarray]]) -> bool:
    return len(left) == len(right) and all(
        a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)
        for a, b in zip(left, right, strict=True)
    )


def source_of(row_L: np.ndarray) -> str:
    """The source of a row, by its letters; a row is of one."""
    (found,) = [n for n, letters in LETTERS.items() if set(row_L.tolist()) & {*letters.encode()}]
    return found


ANNEALING = {
    "mixture_schedule": [{"at": 0.5, "weights": {"web": 0.25, "math": 0.75}}],
    "code": {"max_epochs": 1, "exhausted": "cap"},
}


def test_every_batch_has_the_shares_and_no_place_of_its_own_for_a_source(sources: dict[str, str]) -> None:
    batches = take(mixture_of(sources).train_batches(BatchSchedule.constant(20)), 30)
    found = [[source_of(row) for row in batch["inputs"]] for batch in batches]
    for row in found:
        assert {name: row.count(name) for name in LETTERS} == {"web": 10, "code": 6, "math": 4}
    assert all(len({row[place] for row in found}) > 1 for place in range(20))


def test_rows_of_a_source_are_those_of_a_run_on_it_alone(sources: dict[str, str]) -> None:
    """In its own shuffled epochs, each row once per epoch."""
    mixture = mixture_of(sources)
    sequence = mixture.sequence()
    rows = sequence.take(np.arange(600))["inputs"]
    for name, corpus in mixture.sources.items():
        own = [row for row in rows if source_of(row) == name]
        alone = next(corpus.train_batches(BatchSchedule.constant(len(own))))["inputs"]
        assert np.array_equal(np.array(own), alone)


def test_a_mixture_of_one_source_is_that_source(sources: dict[str, str]) -> None:
    config = DataConfig.model_validate(
        {"mixture": {"web": {"source": sources["web"], "weight": 1}}, "sequence_length": L}
    )
    alone = open_corpus(DataConfig(source=sources["web"], sequence_length=L))
    assert same(take(open_data(config).train_batches(SCHEDULE), 20), take(alone.train_batches(SCHEDULE), 20))


@pytest.mark.parametrize("options", [{}, ANNEALING], ids=["constant", "annealing and cap"])
@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_together_read_what_one_reads(
    sources: dict[str, str], options: dict[str, Any], hosts: int
) -> None:
    mixture = mixture_of(sources, **options)
    alone = take(mixture.train_batches(SCHEDULE, steps=40), 40)
    shares = [
        take(mixture.train_batches(SCHEDULE, steps=40, host_index=h, host_count=hosts), 40)
        for h in range(hosts)
    ]
    together = [{k: np.concatenate([one[n][k] for one in shares]) for k in alone[n]} for n in range(40)]
    assert same(together, alone)


@pytest.mark.parametrize("options", [{}, ANNEALING], ids=["constant", "annealing and cap"])
def test_resume_is_exact(sources: dict[str, str], options: dict[str, Any]) -> None:
    mixture = mixture_of(sources, **options)
    through = take(mixture.train_batches(SCHEDULE, steps=40), 40)
    for k in (1, 20):
        first = mixture.train_batches(SCHEDULE, steps=40)
        take(first, k)
        state = json.loads(json.dumps(first.get_state()))
        second = mixture_of(sources, **options).train_batches(SCHEDULE, steps=40)
        take(second, 3)
        second.set_state(state)
        assert same(take(second, 40 - k), through[k:])


def test_weights_change_with_the_run_and_a_capped_source_ends(sources: dict[str, str]) -> None:
    """Of 40 steps: code up to its end, and from the middle on only web and math, 1 to 3."""
    mixture = mixture_of(sources, **ANNEALING)
    batches = take(mixture.train_batches(BatchSchedule.constant(16), steps=40), 40)
    found = [[source_of(row) for row in batch["inputs"]] for batch in batches]
    code = sum(row.count("code") for row in found)
    assert code == min(len(mixture.sources["code"].train_rows), round(0.3 * 320))
    for row in found[20:]:
        assert (row.count("web"), row.count("math")) == (4, 12)
    shares = mixture.shares(40 * 16, 40 * 16)
    assert shares["code"].tokens == code * L
    assert sum(one.tokens for one in shares.values()) == 40 * 16 * L


def test_a_branch_anneals_at_the_end_of_its_own_budget(sources: dict[str, str]) -> None:
    """After the trunk's first 6 steps, a branch of 10 reads as a run of 10 does, and the trunk goes on."""
    options = {"mixture_schedule": [{"at": 0.8, "weights": {"math": 1}}]}
    mixture, schedule = mixture_of(sources, **options), BatchSchedule.constant(10)
    trunk = take(mixture.train_batches(schedule, steps=40), 40)
    short = take(mixture.train_batches(schedule, steps=10), 10)
    assert same(short[:8], trunk[:8])
    batches = mixture.train_batches(schedule, steps=40)
    take(batches, 6)
    batches.until(10)
    assert batches.step == 6
    assert same(take(batches, 4), short[6:])
    assert {source_of(row) for batch in short[8:] for row in batch["inputs"]} == {"math"}
    batches.seek(6)
    batches.until(40)
    assert same(take(batches, 34), trunk[6:])


@pytest.mark.parametrize("packing", ["cut", "best_fit"])
def test_prepared_sources_train_bit_for_bit(
    sources: dict[str, str], packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One source from shards in a folder of its own, the others as they are."""
    monkeypatch.setattr("scaling.data.store.plan.TARGET", 500)
    config = mixture_of(sources, packing=packing)
    prepare(config.config.of_source("code"), tmp_path / "prepared")
    prepared = mixture_of(sources | {"code": f"prepared:{tmp_path}/prepared"}, packing=packing)
    assert prepared.fingerprint == config.fingerprint
    assert prepared.packing() == config.packing()
    assert same(take(prepared.train_batches(SCHEDULE), 12), take(config.train_batches(SCHEDULE), 12))


def test_skipped_rows_are_left_out(sources: dict[str, str]) -> None:
    sequence = mixture_of(sources, **ANNEALING).sequence(400)
    plain = StepBatches(sequence, SCHEDULE)
    skipping = plain.skipping([(10, 30), (50, 51)])
    left = [n for n in range(200) if not (10 <= n < 30 or n == 50)]
    for step in range(20):
        begin, rows = SCHEDULE.rows_before(step), SCHEDULE.rows_at(step)
        numbers = sequence.order(np.array(left[begin : begin + rows]))
        assert same([skipping[step]], [sequence.take(numbers)])


def test_objectives_with_weights_and_noise(sources: dict[str, str]) -> None:
    """Arrays of every kind are joined row by row."""
    config = DataConfig.model_validate(tree(sources))
    mixture = open_mixture(config, MaskedObjective(), vocab_size=264)
    batch = next(mixture.train_batches(BatchSchedule.constant(10)))
    assert batch["weights"].shape == (10, L)
    assert same(
        take(mixture.train_batches(SCHEDULE), 9)[4:], take_from(mixture.train_batches(SCHEDULE), 4, 5)
    )


def take_from(batches: BatchIterator, step: int, count: int) -> list[dict[str, np.ndarray]]:
    batches.seek(step)
    return take(batches, count)


def test_validation_sets_are_those_of_the_sources(sources: dict[str, str]) -> None:
    mixture = mixture_of(sources)
    sets = mixture.validation_sets(4, tokens=200)
    assert [(one.name, one.weight) for one in sets] == [("web", 0.5), ("code", 0.3), ("math", 0.2)]
    for one in sets:
        assert one.name is not None
        alone = mixture.sources[one.name].validation_batches(4, tokens=200)
        assert same(list(one.batches), list(alone))
        assert one.batches.text_bytes == alone.text_bytes


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"web": {"weight": 0.4}, "code": {"weight": 0.4}},
            "data.mixture.web.weight 0.5 in the checkpoint, 0.4",
        ),
        ({"web": {"max_documents": 60}}, "data.mixture.web (its texts, or how they are read)"),
        ({"mixture_schedule": [{"at": 0.9, "weights": {"web": 1}}]}, "data.mixture_schedule absent in the"),
        ({"code": {"max_epochs": 3, "exhausted": "cap"}}, "data.mixture.code.max_epochs absent in the"),
        ({"seed": 3}, "data.mixture.math (its texts"),
    ],
)
def test_a_checkpoint_of_another_mixture_says_what_differs(
    sources: dict[str, str], changes: dict[str, Any], says: str
) -> None:
    batches = mixture_of(sources).train_batches(SCHEDULE)
    take(batches, 3)
    state = batches.get_state()
    with pytest.raises(BadInputError, match=re.escape(says)):
        mixture_of(sources, **changes).train_batches(SCHEDULE).set_state(state)
    mixture_of(sources, prefetch=0).train_batches(SCHEDULE).set_state(state)


def test_a_source_that_runs_dry_is_refused_before_the_run(sources: dict[str, str]) -> None:
    mixture = mixture_of(sources, math={"max_epochs": 2})
    rows = len(mixture.sources["math"].train_rows)
    batches = mixture.train_batches(BatchSchedule.constant(10))
    batches.check(rows)  # 0.2 of 10 rows per step: as many steps as one epoch has rows
    with pytest.raises(
        BadInputError,
        match=rf"data.mixture.math.max_epochs=2: enough for {rows} steps.* takes 4 epochs of it",
    ):
        batches.check(2 * rows)
    capped = {name: {"max_epochs": 1, "exhausted": "cap"} for name in LETTERS}
    with pytest.raises(BadInputError, match="every source that is read is capped"):
        mixture_of(sources, **capped).train_batches(SCHEDULE).check(10**6)


def test_messages_name_the_source(sources: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"^data.mixture.code: .*no file matches"):
        mixture_of(sources, code={"source": f"jsonl:{tmp_path}/none*.jsonl"})
    with pytest.raises(BadInputError, match=r"^data.mixture.web: .*no field 'body'"):
        mixture_of(sources, web={"field": "body"})
    short = tmp_path / "short.jsonl"
    short.write_text("".join(json.dumps({"text": letter}) + "\n" for letter in "abcdefgh"))
    with pytest.raises(
        BadInputError, match=r"^data.mixture.math: data.sequence_length=16: .*less than one row"
    ):
        mixture_of(sources, math={"source": f"jsonl:{short}"}, validation_fraction=0.5)


RUN = {
    "model": {
        "family": "decoder",
        "n_layers": 1,
        "d_model": 16,
        "n_heads": 2,
        "vocab_size": 257,
        "max_length": 64,
    },
    "train": {"tokens": 6400, "batch_tokens": 64, "learning_rate": 0.001},
}
WEB, CODE = {"source": "text:a", "weight": 0.7}, {"source": "text:b", "weight": 0.3}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"mixture": {}}, "mixture: names no source"),
        ({"mixture": {"web": WEB, "code": {**CODE, "weight": 0.4}}}, "sum to 1.1, not 1.*web.weight=0.6364"),
        ({"mixture": {"web": WEB}}, "sum to 0.7, not 1"),
        ({"mixture": {"web": {**WEB, "weight": -0.7}, "code": CODE}}, "data.mixture.web.weight: -0.7"),
        ({"mixture": {"web": {**WEB, "weight": 0}, "code": CODE}}, "data.mixture.web.weight: 0 "),
        ({"mixture": {"web": {**WEB, "weight": float("nan")}, "code": CODE}}, "web.weight: nan"),
        ({"mixture": {"web": {**WEB, "weight": True}, "code": CODE}}, "web.weight: True"),
        ({"mixture": {"web": {**WEB, "weight": "0.7"}, "code": CODE}}, "web.weight: '0.7'"),
        ({"mixture": {"web": {"source": "text:a"}}}, "no source has a weight"),
        (
            {"mixture": {"web": {"source": "text:a", "weight": 1}, "code": {"source": "text:b"}}},
            "has no weight",
        ),
        ({"mixture": {"we.b": WEB, "code": CODE}}, "'we.b' is not the name of a source"),
        ({"mixture": {"": WEB, "code": CODE}}, "'' is not the name of a source"),
        ({"mixture": {"a/b": WEB, "code": CODE}}, "'a/b' is not the name of a source"),
        ({"mixture": {"web": "text:a"}}, "data.mixture.web: 'text:a' is not accepted"),
        ({"mixture": ["text:a"]}, "data.mixture: .* is not accepted"),
        ({"mixture": {"web": {"weight": 1.0}}}, "data.mixture.web.source: missing"),
        ({"mixture": {"web": {**WEB, "source": "csv:a"}, "code": CODE}}, "web.source: unknown data source"),
        (
            {"mixture": {"web": {**WEB, "wieght": 1}, "code": CODE}},
            "wieght: unknown field; did you mean weight",
        ),
        ({"mixture": {"web": {**WEB, "max_epochs": 0}, "code": CODE}}, "data.mixture.web.max_epochs: 0"),
        ({"mixture": {"web": {**WEB, "exhausted": "stop"}, "code": CODE}}, "web.exhausted: 'stop'.*cap"),
        ({"mixture": {"web": {**WEB, "exhausted": "cap"}, "code": CODE}}, "exhausted=cap needs max_epochs"),
        ({"source": "text:c", "mixture": {"web": WEB, "code": CODE}}, "source=text:c and mixture are both"),
        ({"source": "mixture"}, "source=mixture: give the sources"),
        ({"mixture_schedule": [{"at": 0.9, "weights": {"web": 1}}]}, "data.mixture, which is not given"),
        ({"max_epochs": 2}, "max_epochs=2 is of one source.*mixture.web.max_epochs=2"),
        ({"field": "body"}, "field=body is of one source"),
        ({"tasks": {"names": ["addition"]}}, "tasks are added to one source"),
        ({"mixture_schedule": [{"at": 0.9, "weights": {"web": 0.5, "cod": 0.5}}]}, "'cod' is not a source"),
        ({"mixture_schedule": [{"at": 0.9, "weights": {"web": 0.5, "code": 0.6}}]}, "sum to 1.1, not 1"),
        ({"mixture_schedule": [{"at": 0.9, "weights": {}}]}, "mixture_schedule.0.weights"),
        ({"mixture_schedule": [{"at": 1.0, "weights": {"web": 1}}]}, "mixture_schedule.0.at: 1.0"),
        ({"mixture_schedule": [{"at": 0, "weights": {"web": 1}}]}, "mixture_schedule.0.at: 0"),
        ({"mixture_schedule": [{"at": 0.9, "weights": {"web": 0, "code": 1}}]}, "weights.web: 0"),
        (
            {"mixture_schedule": [{"at": at, "weights": {"web": 1}} for at in (0.8, 0.8)]},
            "mixture_schedule.1.at=0.8 is not after",
        ),
        (
            {"mixture_schedule": [{"at": at, "weights": {"web": 1}} for at in (0.8, 0.5)]},
            "mixture_schedule.1.at=0.5 is not after the change before it, at 0.8",
        ),
        ({"packing": "best"}, "data.packing: 'best' is not accepted"),
    ],
)
def test_bad_mixtures_are_refused_in_one_line(data: dict[str, Any], says: str) -> None:
    given = {"sequence_length": L, **data}
    if "mixture" not in given and "source" not in given and "which is not given" not in says:
        given["mixture"] = {"web": WEB, "code": CODE}
    with pytest.raises(BadInputError, match=says) as error:
        validate(RunConfig, {**RUN, "data": given}, "run")
    assert "\n" not in str(error.value)


def test_one_name_twice(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    one = "{source: 'text:a', weight: 0.5}"
    path.write_text(f"data:\n  mixture:\n    web: {one}\n    web: {one}\n")
    with pytest.raises(BadInputError, match="the key 'web' is given twice"):
        load_run(str(path))


def test_weights_that_change_before_the_cooldown_of_a_branch() -> None:
    train = {**RUN["train"], "schedule": "wsd", "branches": [3200], "cooldown_fraction": 0.2}
    changes = [{"at": 0.7, "weights": {"web": 1}}]
    data = {"sequence_length": L, "mixture": {"web": WEB, "code": CODE}, "mixture_schedule": changes}
    with pytest.raises(BadInputError, match=r"at=0.7 .* cooldowns of train.branches begin, at 0.8"):
        load_run({**RUN, "data": data, "train": train})
    changes[0]["at"] = 0.8
    load_run({**RUN, "data": data, "train": train})


def test_a_resolved_config_reads_back_and_overrides_replace() -> None:
    data = {"sequence_length": L, "mixture": {"web": WEB, "code": CODE}}
    run = load_run({**RUN, "data": data})
    again = load_run(parse_yaml(dump_yaml(run), "config.yaml"))
    assert again == run
    assert again.id() == run.id()
    one = load_run(run.model_dump(), ["data.source=text:c"])
    assert (one.data.source, one.data.mixture) == ("text:c", None)
    several = load_run(one.model_dump(), ["data.mixture={web: {source: 'text:a', weight: 1}}"])
    assert several.data.source == "mixture"
    fewer = load_run(run.model_dump(), ["data.mixture.code=null", "data.mixture.web.weight=1"])
    assert list(fewer.data.mixture or ()) == ["web"]
    halves = load_run(run.model_dump(), ["data.mixture.web.weight=0.5", "data.mixture.code.weight=0.5"])
    assert [one.weight for one in (halves.data.mixture or {}).values()] == [0.5, 0.5]
