import itertools
import json
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.data import DataConfig
from scaling.data.batches import BatchSchedule, StepBatches
from scaling.data.corpus import open_corpus
from scaling.data.sequences import EpochSequence
from scaling.runtime.errors import BadInputError

CONSTANT = BatchSchedule.constant(8)
WARM_UP = BatchSchedule(((0, 4), (3, 8), (7, 16)))


@pytest.fixture
def corpus(jsonl):
    def open_with(**options):
        options = {"sequence_length": 32, "validation_fraction": 0.2, **options}
        return open_corpus(DataConfig(source=jsonl, **options))

    return open_with


def take(batches, count):
    return [next(batches) for _ in range(count)]


def assert_equal(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            assert np.array_equal(a[key], b[key])


def test_shapes_types_and_keys(corpus):
    batch = next(corpus().train_batches(CONSTANT))
    assert set(batch) == {"inputs", "targets", "segment_ids", "positions"}
    assert {(value.shape, value.dtype.name) for value in batch.values()} == {((8, 32), "int32")}
    assert set(next(corpus(mask_documents=False).train_batches(CONSTANT))) == {"inputs", "targets"}


def test_an_epoch_reads_every_row_once_and_each_epoch_anew(corpus):
    corpus = corpus()
    rows = len(corpus.train_rows)
    batches = corpus.train_batches(BatchSchedule.constant(rows))
    first, second = take(batches, 2)
    every_row = sorted(map(bytes, corpus.train_rows.take(np.arange(rows))["inputs"]))
    assert sorted(map(bytes, first["inputs"])) == every_row
    assert sorted(map(bytes, second["inputs"])) == every_row
    assert not np.array_equal(first["inputs"], second["inputs"])


def test_training_and_validation_share_no_document(corpus):
    corpus = corpus()
    texts = [
        {corpus.tokenizer.decode(ids) for ids in np.split(split.ids, split.offsets[1:-1])}
        for split in (corpus.store.train, corpus.store.validation)
    ]
    assert not texts[0] & texts[1]
    assert len(texts[0]) + len(texts[1]) == 200


@pytest.mark.parametrize("prefetch", [0, 4])
@pytest.mark.parametrize("schedule", [CONSTANT, WARM_UP], ids=["constant", "warm-up"])
def test_resume_is_exact(corpus, schedule, prefetch):
    whole = take(corpus(prefetch=prefetch).train_batches(schedule), 12)
    for k in (0, 1, 5, 12):
        first = corpus(prefetch=prefetch).train_batches(schedule)
        take(first, k)
        time.sleep(0.02)  # let the thread run ahead: what it has made must not count
        state = json.loads(json.dumps(first.get_state()))
        second = corpus(prefetch=prefetch).train_batches(schedule)
        take(second, 3)  # the iterator restored into may already have run
        second.set_state(state)
        assert second.step == k
        assert_equal(take(second, 12 - k), whole[k:])


def test_seek_goes_to_any_step(corpus):
    batches = corpus().train_batches(WARM_UP)
    whole = take(batches, 12)
    for step in (9, 2, 0, 11):
        batches.seek(step)
        assert_equal([next(batches)], [whole[step]])
    batches.seek(10**12)  # random access: as quick as any
    assert next(batches)["inputs"].shape == (16, 32)


@pytest.mark.parametrize("hosts", [2, 4])
@pytest.mark.parametrize("schedule", [CONSTANT, WARM_UP], ids=["constant", "warm-up"])
def test_hosts_together_read_what_one_reads(corpus, schedule, hosts):
    corpus = corpus()
    alone = take(corpus.train_batches(schedule), 12)
    iterators = [corpus.train_batches(schedule, host_index=h, host_count=hosts) for h in range(hosts)]
    shares = [take(iterator, 12) for iterator in iterators]
    together = [
        {key: np.concatenate([share[n][key] for share in shares]) for key in alone[n]} for n in range(12)
    ]
    assert_equal(together, alone)
    # And a run may go on with another number of hosts.
    state = iterators[0].get_state()
    assert state == iterators[-1].get_state()
    alone_again = corpus.train_batches(schedule)
    alone_again.set_state(state)
    one_more = next(alone_again)
    assert_equal(
        [{key: value[: len(value) // hosts] for key, value in one_more.items()}], [next(iterators[0])]
    )


def test_seeds_change_the_order_and_not_the_split(corpus):
    one, other = corpus(seed=1), corpus(seed=2)
    assert not np.array_equal(
        next(one.train_batches(CONSTANT))["inputs"], next(other.train_batches(CONSTANT))["inputs"]
    )
    assert one.store.path == other.store.path
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_end_of_the_epochs_is_said(corpus, epochs):
    corpus = corpus(max_epochs=epochs)
    batches = corpus.train_batches(CONSTANT)
    steps = epochs * len(corpus.train_rows) // 8
    assert batches.steps == steps
    read = take(batches, steps)
    assert sum(len(batch["inputs"]) for batch in read) <= epochs * len(corpus.train_rows)
    state = batches.get_state()
    with pytest.raises(
        BadInputError, match=f"{len(corpus.train_rows) * 32} training tokens per epoch.*{steps} steps"
    ):
        next(batches)
    batches.set_state(state)  # a finished run may be restored
    with pytest.raises(BadInputError, match="outside"):
        batches.seek(steps + 1)


def test_a_checkpoint_of_other_data_or_schedule_is_refused(corpus):
    batches = corpus().train_batches(WARM_UP)
    take(batches, 5)
    state = batches.get_state()
    for options in (
        {"seed": 1},
        {"sequence_length": 16},
        {"validation_fraction": 0.3},
        {"max_documents": 100},
    ):
        with pytest.raises(BadInputError, match="other data"):
            corpus(**options).train_batches(WARM_UP).set_state(state)
    with pytest.raises(BadInputError, match="28 rows by step 5"):
        corpus().train_batches(CONSTANT).set_state(state)
    corpus(prefetch=0, max_epochs=9).train_batches(WARM_UP).set_state(state)  # neither changes the rows


def test_hosts_that_do_not_divide_the_batch(corpus):
    corpus = corpus()
    for schedule, host_index, host_count in ((CONSTANT, 0, 3), (WARM_UP, 0, 8), (CONSTANT, 2, 2)):
        with pytest.raises(ValueError, match="host"):
            corpus.train_batches(schedule, host_index=host_index, host_count=host_count)


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("grain-prefetch")]


def test_close_ends_the_thread(corpus):
    earlier = set(prefetch_threads())  # of other tests, which may end at any moment
    batches = corpus().train_batches(CONSTANT)
    take(batches, 2)
    own = set(prefetch_threads()) - earlier
    assert own
    batches.close()
    batches.close()
    for thread in own:
        thread.join(300)
        assert not thread.is_alive()


def test_waiting_is_measured(corpus, monkeypatch):
    """Each reading of the clock is a second after the one before it."""
    clock = itertools.count()
    monkeypatch.setattr("scaling.data.batches.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    batches = corpus(prefetch=0).train_batches(CONSTANT)
    take(batches, 5)
    assert batches.wait_seconds == 5
    next(clock)  # time outside `next` is not waiting
    assert batches.wait_seconds == 5


def test_the_work_in_python_does_not_grow_with_the_tokens(corpus):
    """Calls in Python are per batch and per document, never per token: sequences 16 times as long
    reach a few more documents."""

    def calls(length):
        batches = corpus(prefetch=0, sequence_length=length).train_batches(CONSTANT)
        take(batches, 2)
        made = 0

        def count(frame, event, argument):
            nonlocal made
            made += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            next(batches)
        finally:
            sys.setprofile(None)
        return made

    assert calls(256) <= 1.5 * calls(16)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=4),
    st.integers(0, 8),
    st.sampled_from([((0, 4),), ((0, 2), (5, 4))]),
)
@settings(max_examples=40, deadline=None)
def test_skipped_rows_are_left_out_and_nothing_else_moves(
    starts: list[tuple[int, int]], step: int, phases: tuple[tuple[int, int], ...]
) -> None:
    """Batches with rows left out are those of the filtered sequence; `rows_of` says where they stood."""

    class Numbers:
        def __len__(self) -> int:
            return 13

        def take(self, indices_B: np.ndarray, numbers_B: np.ndarray) -> dict[str, np.ndarray]:
            return {"inputs": indices_B, "numbers": numbers_B}

    schedule = BatchSchedule(phases)
    ranges = [(begin, begin + length) for begin, length in starts]
    plain = StepBatches(EpochSequence(Numbers(), seed=3), schedule)  # type: ignore[arg-type]
    skipping = plain.skipping(ranges)
    left = [n for n in range(400) if not any(begin <= n < end for begin, end in ranges)]
    begin, rows = schedule.rows_before(step), schedule.rows_at(step)
    batch = skipping[step]
    assert batch["numbers"].tolist() == left[begin : begin + rows]
    order = plain.sequence.indices(batch["numbers"]).tolist()
    assert batch["inputs"].tolist() == order, "a row that is kept is the row it was"
    assert skipping.rows_of(step, step + 1) == (left[begin], left[begin + rows - 1] + 1)
