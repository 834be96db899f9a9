import itertools
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from scaling.data.store import open_store
from scaling.data.tokenizers import ByteTokenizer
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import cache_root

WORDS = [f"document {n} says {n * n}" for n in range(60)]


class WideTokenizer(ByteTokenizer):
    """As bytes, with room for so many ids that 16 bits are too few."""

    vocab_size = 100_000
    identity = "wide"


def open_texts(documents, tokenizer=None, fraction=0.3, **options):
    return open_store(documents, tokenizer or ByteTokenizer(), validation_fraction=fraction, **options)


def texts_of(split):
    bounds = split.offsets
    pieces = [split.ids[a:b] for a, b in itertools.pairwise(bounds)]
    assert all(piece[0] == 256 for piece in pieces)
    return [bytes(piece[1:].astype(np.uint8)).decode() for piece in pieces]


def test_every_document_is_kept_whole_on_one_side(texts):
    store = open_texts(texts([*WORDS, "", "é\n"]))
    train, validation = texts_of(store.train), texts_of(store.validation)
    assert sorted(train + validation) == sorted([*WORDS, "é\n"])
    assert store.train.documents == len(train)
    assert store.train.text_bytes + store.validation.text_bytes == sum(len(t.encode()) for t in WORDS) + 3
    assert store.train.tokens == store.train.text_bytes + store.train.documents


# Not shrunk: every example writes a store, and a smaller one would say no more.
@settings(deadline=None, max_examples=25, phases=[Phase.generate])
@given(random=st.randoms(), repeated=st.lists(st.sampled_from(WORDS), max_size=20))
def test_the_split_ignores_order_and_duplicates(texts, random, repeated):
    before = open_texts(texts(WORDS))
    shuffled = [*WORDS, *repeated]
    random.shuffle(shuffled)
    after = open_texts(texts(shuffled))
    assert set(texts_of(after.train)) == set(texts_of(before.train))
    assert set(texts_of(after.validation)) == set(texts_of(before.validation))
    if not repeated:
        assert after.fingerprint == before.fingerprint


@pytest.mark.parametrize(("tokenizer", "dtype"), [(ByteTokenizer(), np.uint16), (WideTokenizer(), np.uint32)])
def test_ids_are_as_narrow_as_the_vocabulary_allows(texts, tokenizer, dtype):
    assert open_texts(texts(WORDS), tokenizer).train.ids.dtype == dtype


def test_a_second_opening_reads_the_cache(texts):
    class Unreadable(texts):
        def __getitem__(self, index):
            raise AssertionError("read again")

    calls = []
    first = open_texts(texts(WORDS), progress=lambda done, total: calls.append((done, total)))
    size = texts(WORDS).size
    assert calls[-1] == (size, size)
    second = open_texts(Unreadable(WORDS))
    assert second.path == first.path
    assert np.array_equal(second.train.ids, first.train.ids)


def test_what_is_asked_for_decides_the_cache_entry(texts):
    stores = [
        open_texts(texts(WORDS)),
        open_texts(texts(WORDS[1:])),
        open_texts(texts(WORDS), fraction=0.4),
        open_texts(texts(WORDS), max_documents=50),
        open_texts(texts(WORDS), WideTokenizer()),
    ]
    assert len({store.path for store in stores}) == 5
    assert len({store.fingerprint for store in stores}) == 5
    assert stores[3].train.documents + stores[3].validation.documents == 50


def truncate(path):
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size - 2)


def blank(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *itertools.product(
            ["manifest.json", "shards/00000.train.array_record", "validation.offsets"],
            [truncate, blank, os.remove],
        ),
        # Any number may be a hash, so blank ones cannot be told.
        *itertools.product(["train.hashes"], [truncate, os.remove]),
    ],
)
def test_a_damaged_cache_is_made_again(texts, name, damage):
    whole = open_texts(texts(WORDS))
    expected = np.array(whole.train.ids)
    del whole
    path = next((cache_root() / "tokens").iterdir())
    damage(path / name)
    again = open_texts(texts(WORDS))
    assert np.array_equal(again.train.ids, expected)
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing left beside it
    assert sorted(p.name for p in path.iterdir()) == [
        "manifest.json", "shards", "train.hashes", "train.offsets", "validation.hashes", "validation.offsets",
    ]  # fmt: skip


def test_an_interrupted_build_leaves_nothing(texts):
    class Stops(texts):
        def __getitem__(self, index):
            if index == 30:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    with pytest.raises(KeyboardInterrupt):
        open_texts(Stops(WORDS))
    assert list((cache_root() / "tokens").iterdir()) == []
    assert open_texts(texts(WORDS)).train.documents > 0


def test_what_a_killed_build_left_is_cleared_after_a_day(texts):
    folder = cache_root() / "tokens"
    old, new = folder / ".abc.old", folder / ".abc.new"
    for leftover in (old, new):
        (leftover / "shards").mkdir(parents=True)
        (leftover / "shards/.abc.part").write_bytes(b"half")
    yesterday = time.time() - 100_000
    for path in (old / "shards/.abc.part", old / "shards", old):
        os.utime(path, (yesterday, yesterday))
    open_texts(texts(WORDS))
    assert not old.exists()
    assert new.exists()


RACE = """
import sys
from scaling.data.store import open_store
from scaling.data.tokenizers import ByteTokenizer
class Texts(list):
    identity, name, size = "race", "race", 1
    def parts(self, target_bytes): return [self]
    def documents(self): return iter(self)
store = open_store(Texts(f"document {n}" for n in range(3000)), ByteTokenizer(), validation_fraction=0.3)
sys.stdout.write(store.fingerprint + str(sum(store.train.ids[:].tolist())))
"""


def test_processes_may_race(cache):
    # The second round starts from a damaged store that all of them want to mend.
    for _ in range(2):
        processes = [
            subprocess.Popen([sys.executable, "-c", RACE], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(2)
        ]
        results = [(process.communicate(timeout=60), process.returncode) for process in processes]
        assert [code for _, code in results] == [0, 0], results
        assert len({output for (output, _), _ in results}) == 1
        (entry,) = (cache / "tokens").iterdir()
        truncate(entry / "shards/00000.train.array_record")


@pytest.mark.parametrize(
    ("contents", "fraction", "says"),
    [
        (["only one"], 1e-9, "leaves no validation document of 1; raise it"),
        (["only one"], 1 - 1e-9, "leaves no train document of 1; lower it"),
        (["", ""], 0.5, "all of its 2 documents are empty"),
        ([], 0.5, "all of its 0 documents are empty"),
    ],
)
def test_empty_sides_are_refused(texts, contents, fraction, says):
    with pytest.raises(BadInputError, match=says):
        open_texts(texts(contents), fraction=fraction)
    assert list((cache_root() / "tokens").iterdir()) == []


def test_a_cache_that_cannot_be_written(texts, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SCALING_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(BadInputError, match="set SCALING_CACHE"):
        open_texts(texts(WORDS))


def test_the_manifest_says_what_is_stored(texts):
    store = open_texts(texts(WORDS))
    meta = json.loads((store.path / "manifest.json").read_text())
    assert meta["splits"]["train"]["tokens"] == store.train.tokens
    assert meta["fingerprint"] == store.fingerprint
    shutil.rmtree(store.path)  # open maps do not stand in the way of clearing the cache
    assert store.train.ids[0] == 256
