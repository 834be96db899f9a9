"""Prepared corpora: the training of their source, whatever they were made by and however often killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grain
import numpy as np
import pytest

import scaling.data.store.plan as planning
from scaling.config.data import DataConfig
from scaling.data.batches import BatchSchedule
from scaling.data.corpus import describe, open_corpus
from scaling.data.store.folder import finished_manifest, verify
from scaling.data.store.prepare import prepare
from scaling.data.store.tokens import BLOCK
from scaling.runtime.errors import BadInputError
from tests.data.store.tokenizer_files import byte_level_bpe


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def batches(config: DataConfig, steps: int = 12) -> list[np.ndarray]:
    iterator = open_corpus(config).train_batches(BatchSchedule.constant(4))
    found = [next(iterator) for _ in range(steps)]
    iterator.close()
    return [batch[key] for batch in found for key in sorted(batch)]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_prepared_corpus_trains_as_its_source(config, tmp_path):
    direct = config()
    done = prepare(direct, tmp_path / "out", workers=2)
    assert done.made >= 8 and done.kept == 0 and done.missing == ()
    ready = config(f"prepared:{tmp_path / 'out'}", validation_fraction=0.05)
    assert ready.tokenizer == f"prepared:{tmp_path / 'out'}"
    assert same(batches(direct), batches(ready))
    for seed in (0, 1):
        a, b = (open_corpus(one.model_copy(update={"seed": seed})) for one in (direct, ready))
        assert a.fingerprint == b.fingerprint
    one, other = describe(direct), describe(ready)
    assert one == other
    assert "20% of the documents" in other.split


def test_the_manifest_counts(config, tmp_path):
    manifest = prepare(config(), tmp_path / "out").manifest
    assert (manifest.documents, manifest.empty, manifest.malformed, manifest.duplicates) == (239, 1, 0, 1)
    summary = describe(config())
    assert (manifest.tokens, manifest.text_bytes) == (summary.tokens, summary.bytes)
    assert manifest.splits["validation"].documents == summary.validation_documents
    assert manifest.versions["array_record"] and manifest.tokenizer_hash == "bytes"
    written = json.loads((tmp_path / "out/manifest.json").read_text())
    assert written["settings"]["source"] == config().source
    assert sum(shard["records"] for shard in written["shards"]) == 240


def test_workers_and_jobs_write_the_same_bytes(config, tmp_path):
    one, two, many = (tmp_path / name for name in ("one", "two", "many"))
    prepare(config(), one)
    prepare(config(), two, workers=3)
    assert files_of(one) == files_of(two)
    shards = len(finished_manifest(one).shards)
    # As many shards for three jobs, in any order; the last one joins them.
    for job, missing in ((2, (1, 3)), (3, (1,))):
        done = prepare(config(), many, job=(job, 3))
        assert done.manifest is None and done.missing == missing
        with pytest.raises(
            BadInputError, match="are missing; run scaling data prepare again with --shard 1/3"
        ):
            open_corpus(config(f"prepared:{many}"))
    assert prepare(config(), many, job=(1, 3)).manifest is not None
    ours, theirs = files_of(one), files_of(many)
    tokens = [name for name in ours if name.startswith("shards/")]
    assert len(tokens) >= 2 * shards
    assert all(ours[name] == theirs[name] for name in tokens)
    assert finished_manifest(many).fingerprint == finished_manifest(one).fingerprint


def test_shards_of_jobs_are_joined_on_opening(config, tmp_path):
    out = tmp_path / "out"
    for job in (1, 2):
        prepare(config(), out, job=(job, 2))
    (out / "manifest.json").unlink()  # both jobs ended at once, and each found the other unfinished
    assert same(batches(config(f"prepared:{out}")), batches(config()))


def test_without_a_shard_number_the_rest_of_the_jobs_is_made(config, tmp_path):
    prepare(config(), tmp_path / "out", job=(2, 3))
    done = prepare(config(), tmp_path / "out")
    assert done.manifest is not None and done.kept > 0 and done.made > 0


def test_a_second_preparation_makes_nothing(config, tmp_path):
    prepare(config(), tmp_path / "out")
    before = files_of(tmp_path / "out")
    done = prepare(config(), tmp_path / "out", workers=2)
    assert done.made == 0 and done.kept == len(done.manifest.shards)
    assert files_of(tmp_path / "out") == before


KILLED = """
import sys
from pathlib import Path
import scaling.data.store.plan as planning
from scaling.config.data import DataConfig
from scaling.data.store.prepare import prepare
planning.TARGET = 1500
config = DataConfig(source=sys.argv[1], validation_fraction=0.2)
prepare(config, Path(sys.argv[2]), workers=int(sys.argv[3]))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_run_again(config, tmp_path, monkeypatch, workers):
    monkeypatch.setattr(planning, "TARGET", 1500)
    out, alone = tmp_path / "out", tmp_path / "alone"
    command = [sys.executable, "-c", KILLED, config().source, str(out), str(workers)]
    process = subprocess.Popen(command, start_new_session=True)
    while process.poll() is None and len(list(out.glob("shards/*.json"))) < 3:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    with pytest.raises(BadInputError, match="its preparation is not finished"):
        open_corpus(config(f"prepared:{out}"))
    done = prepare(config(), out)
    assert done.kept >= 3 and done.made >= 1
    prepare(config(), alone)
    left = [name for name in files_of(out) if name not in files_of(alone)]
    assert all(files_of(out)[name] == content for name, content in files_of(alone).items())
    # A worker that outlived its parent for a moment may be writing still.
    assert all(name.endswith(".part") for name in left) and (workers == 2 or not left)


def test_first_documents_only(config, tmp_path):
    direct = config(max_documents=100)
    prepare(direct, tmp_path / "out", workers=2)
    assert same(batches(direct), batches(config(f"prepared:{tmp_path / 'out'}")))
    assert finished_manifest(tmp_path / "out").documents <= 100


def test_one_text_file(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"line {n}\n" for n in range(4000)))
    direct = DataConfig(source=f"text:{tmp_path}/a.txt", sequence_length=32)
    prepare(direct, tmp_path / "out", workers=2)
    ready = DataConfig(source=f"prepared:{tmp_path}/out", sequence_length=32)
    assert same(batches(direct), batches(ready))
    assert describe(ready).split.startswith("by position")


def test_the_tokenizer_travels(config, tmp_path):
    byte_level_bpe(tmp_path / "tokenizer")
    direct = config(tokenizer=f"hf:{tmp_path / 'tokenizer'}")
    prepare(direct, tmp_path / "out", workers=2)
    expected = batches(direct)
    (tmp_path / "tokenizer").rename(tmp_path / "gone")
    (tmp_path / "out").rename(tmp_path / "moved")
    ready = config(f"prepared:{tmp_path / 'moved'}")
    assert same(batches(ready), expected)
    assert describe(ready).vocab_size == 300
    # The same tokenizer from elsewhere is the same.
    assert same(
        batches(config(f"prepared:{tmp_path / 'moved'}", tokenizer=f"hf:{tmp_path / 'gone'}")), expected
    )
    changed = tmp_path / "moved/tokenizer/tokenizer.json"
    changed.write_text(changed.read_text().replace('"er"', '"re"'))
    assert [
        one.split(":")[0] for one in verify(tmp_path / "moved", finished_manifest(tmp_path / "moved"))
    ] == [str(changed)]


def test_grain_reads_the_shards(config, tmp_path):
    prepare(config(), tmp_path / "out")
    store = open_corpus(config(f"prepared:{tmp_path / 'out'}")).store
    paths = sorted(map(str, (tmp_path / "out/shards").glob("*.train.array_record")))
    records = grain.sources.ArrayRecordDataSource(paths)
    joined = np.concatenate([np.frombuffer(records[n], np.uint16) for n in range(len(records))])
    assert np.array_equal(joined, store.train.ids)


def test_a_long_document_is_several_records(config, tmp_path):
    prepare(config(), tmp_path / "out")
    long = [
        side.long for shard in finished_manifest(tmp_path / "out").shards for side in shard.sides.values()
    ]
    assert [extra for one in long for _, extra in one] == [45_000 // BLOCK]


def test_verify_finds_one_byte(config, tmp_path):
    manifest = prepare(config(), tmp_path / "out").manifest
    assert verify(tmp_path / "out", manifest) == []
    for name in ("shards/00001.train.array_record", "shards/00001.train.index", "train.offsets"):
        path = tmp_path / "out" / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        assert len(verify(tmp_path / "out", manifest)) == 1, name
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def test_progress_grows_to_the_end(config, tmp_path):
    seen = []
    prepare(config(), tmp_path / "out", workers=2, progress=seen.append)
    assert seen[-1].read == seen[-1].total and seen[-1].shards == seen[-1].of
    assert seen[-1].text == describe(config()).bytes
    assert all(0 <= one.read <= one.total for one in seen)


def test_workers_import_no_jax():
    code = "import sys, scaling.data.store.workers; assert 'jax' not in sys.modules"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": ":".join(sys.path)}
    )


def cut(folder):
    path = folder / "shards/00001.train.array_record"
    path.write_bytes(path.read_bytes()[:-10])


def remove(folder):
    (folder / "shards/00002.train.index").unlink()


def blank(folder):
    path = folder / "shards/00001.train.array_record"
    path.write_bytes(bytes(path.stat().st_size))


def no_offsets(folder):
    (folder / "train.offsets").unlink()


def garbled(folder):
    (folder / "manifest.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, "00001.train.array_record has"),
        (remove, "00002.train.index is missing; run the same scaling data prepare again"),
        (blank, "00001.train.array_record: the shard is damaged"),
        (no_offsets, "train.offsets: cannot be read"),
        (garbled, "manifest.json: damaged"),
    ],
)
def test_a_damaged_corpus_is_refused_and_mended(config, tmp_path, damage, says):
    out = tmp_path / "out"
    prepare(config(), out)
    before = files_of(out)
    damage(out)
    with pytest.raises(BadInputError, match=says) as error:
        open_corpus(config(f"prepared:{out}"))
    assert "\n" not in str(error.value)
    if damage is blank:  # of the right size
        (out / "shards/00001.train.array_record").unlink()
    if damage in (no_offsets, garbled):
        (out / "manifest.json").unlink()
    prepare(config(), out)
    assert files_of(out) == before
