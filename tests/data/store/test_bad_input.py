"""What cannot be prepared or opened: one line, exit code 2, nothing half-written."""

import json
import os
import resource
import subprocess
import sys

import pytest

from scaling.data.corpus import open_corpus
from scaling.data.store.folder import finished_manifest
from scaling.data.store.prepare import prepare
from scaling.runtime.errors import BadInputError
from tests.data.store.tokenizer_files import byte_level_bpe


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# Options of the config, arguments of `prepare`, and what the message says.
REFUSED = {
    "no worker": ({}, {"workers": 0}, "--workers 0: give 1 or more"),
    "shard 0": ({}, {"job": (0, 2)}, "--shard 0/2: shards are numbered from 1 to 2"),
    "shard beyond": ({}, {"job": (3, 2)}, "--shard 3/2: shards are numbered from 1 to 2"),
    "first documents in jobs": ({"max_documents": 9}, {"job": (1, 2)}, "--max-documents 9"),
    "no source": ({"source": "jsonl:nowhere/*.jsonl"}, {}, "no file matches 'nowhere/"),
    "no field": ({"field": "body"}, {}, "no field 'body'"),
    "no tokenizer": ({"tokenizer": "hf:nowhere"}, {}, "data.tokenizer"),
    "no validation": ({"validation_fraction": 1e-9}, {}, "leaves no validation document of 239; raise it"),
    "no training": ({"validation_fraction": 1 - 1e-9}, {}, "leaves no train document of 239; lower it"),
}


@pytest.mark.parametrize(("options", "arguments", "says"), REFUSED.values(), ids=REFUSED)
def test_refused(config, tmp_path, options, arguments, says):
    before = files(tmp_path)
    with pytest.raises(BadInputError, match=says.replace("(", r"\(")) as error:
        prepare(config(**options), tmp_path / "out", **arguments)
    assert "\n" not in str(error.value)
    made = [name for name in files(tmp_path) if name not in before and "cache" not in name]
    # A preparation that met a bad record can be continued when the record is mended.
    assert made == [] or (options == {"field": "body"} and made == ["out/settings.json"])


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "all of its 0 documents are empty"),
        (["", ""], "all of its 2 documents are empty"),
        ([json.dumps({"text": ""})] * 3, "all of its 3 documents are empty"),
    ],
)
def test_without_documents(config, tmp_path, lines, says):
    (tmp_path / "a.jsonl").write_text("".join(line + "\n" for line in lines))
    with pytest.raises(BadInputError, match=says):
        prepare(config(f"jsonl:{tmp_path}/a.jsonl"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "arguments", "says"),
    [
        ({"validation_fraction": 0.3}, {}, "--validation-fraction was 0.2, and is 0.3 now"),
        ({"max_documents": 50}, {}, "--max-documents was not given, and is 50 now"),
        ({"tokenizer": "bpe"}, {}, "--tokenizer was bytes, and is hf:"),
        ({"field": "title"}, {}, "the files of the source was jsonl:text:"),
        ({}, {"job": (1, 2)}, "N of --shard I/N was not given, and is 2 now"),
    ],
)
def test_other_settings(config, tmp_path, change, arguments, says):
    byte_level_bpe(tmp_path / "bpe")
    if "tokenizer" in change:
        change = {"tokenizer": f"hf:{tmp_path / 'bpe'}"}
    prepare(config(), tmp_path / "out")
    before = files(tmp_path / "out")
    with pytest.raises(BadInputError, match=f"was begun with other settings: {says}"):
        prepare(config(**change), tmp_path / "out", **arguments)
    assert files(tmp_path / "out") == before


def test_another_number_of_jobs(config, tmp_path):
    prepare(config(), tmp_path / "out", job=(1, 2))
    with pytest.raises(BadInputError, match="N of --shard I/N was 2, and is 3 now"):
        prepare(config(), tmp_path / "out", job=(2, 3))


def test_a_source_that_changed(config, tmp_path):
    prepare(config(), tmp_path / "out")
    with (tmp_path / "texts/1.jsonl").open("a") as file:
        file.write('{"text": "one more"}\n')
    with pytest.raises(BadInputError, match="the files of the source was"):
        prepare(config(), tmp_path / "out")


@pytest.mark.parametrize("pattern", ["**/*", "**/*.json*", "*/*/*.json", "out/*.json"])
def test_out_inside_the_source(config, tmp_path, pattern):
    with pytest.raises(BadInputError, match="matches the files that are written there"):
        prepare(config(f"jsonl:{tmp_path}/{pattern}"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_out_has_other_files(config, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("years of work")
    with pytest.raises(BadInputError, match="the directory has other files"):
        prepare(config(), tmp_path / "out")
    assert files(tmp_path / "out") == ["thesis.tex"]


def test_out_is_a_file(config, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(BadInputError, match=r"out=.*: cannot be written"):
        prepare(config(), tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_out_cannot_be_written(config, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(BadInputError, match="cannot be written: Permission denied"):
        prepare(config(), tmp_path / "closed/out")


FULL = """
import resource, sys
from pathlib import Path
import scaling.data.store.plan as planning
from scaling.config.data import DataConfig
from scaling.data.store.prepare import prepare
from scaling.runtime.errors import BadInputError
planning.TARGET = 2500
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
try:
    config = DataConfig(source=sys.argv[1], validation_fraction=0.2)
    prepare(config, Path(sys.argv[2]), workers=int(sys.argv[3]))
except BadInputError as error:
    sys.exit(f"BadInputError: {error}")
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk(config, tmp_path, workers):
    """Files may have 30,000 bytes here, and the longest document has more."""
    out = tmp_path / "out"
    command = [sys.executable, "-c", FULL, config().source, str(out), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("BadInputError: out=") and "File too large" in done.stderr
    assert "finished shards are kept, so run the same command again" in done.stderr
    assert not (out / "manifest.json").exists() and not list(out.rglob(".*.part"))
    done = prepare(config(), out)
    assert done.manifest.documents == 239
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 30_000


def test_a_worker_that_is_killed(config, tmp_path, monkeypatch):
    from scaling.data.store import workers

    monkeypatch.setattr(workers, "_MAIN", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(BadInputError, match="a worker process ended by signal 9, perhaps for lack of memory"):
        prepare(config(), tmp_path / "out", workers=2)


def test_a_malformed_record_in_a_worker(config, tmp_path):
    path = tmp_path / "texts/1.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:40], "{", *lines[40:]]) + "\n")
    with pytest.raises(BadInputError, match=r"1.jsonl:41: not JSON"):
        prepare(config(), tmp_path / "out", workers=2)
    assert not (tmp_path / "out/manifest.json").exists()
    manifest = prepare(config(on_error="skip"), tmp_path / "skipped", workers=2).manifest
    assert manifest.malformed == 1 and "1.jsonl:41" in manifest.reasons[0]


@pytest.fixture
def prepared(config, tmp_path):
    prepare(config(), tmp_path / "out")
    return f"prepared:{tmp_path / 'out'}"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"validation_fraction": 0.5}, "data.validation_fraction=0.5: .* was prepared with 0.2"),
        ({"max_documents": 7}, "data.max_documents=7: .* was prepared with all documents"),
        ({"tokenizer": "bpe"}, "data.tokenizer: .* was prepared with bytes"),
        ({"tasks": {"names": ["copy4"]}}, "data.tasks: .* is tokenised already"),
    ],
)
def test_a_prepared_corpus_read_in_another_way(config, prepared, tmp_path, options, says):
    if "tokenizer" in options:
        byte_level_bpe(tmp_path / "bpe")
        options = {"tokenizer": f"hf:{tmp_path / 'bpe'}"}
    with pytest.raises(BadInputError, match=says):
        open_corpus(config(prepared, **options))


def test_nothing_is_prepared_there(config, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "nowhere", "texts"):
        with pytest.raises(BadInputError, match="no prepared corpus"):
            open_corpus(config(f"prepared:{tmp_path / folder}"))
        with pytest.raises(BadInputError, match="no prepared corpus"):
            finished_manifest(tmp_path / folder)


def test_a_prepared_corpus_is_not_prepared_again(config, prepared, tmp_path):
    with pytest.raises(
        BadInputError, match="is tokenised already; give the source that it was prepared from"
    ):
        prepare(config(prepared), tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_tokenizer_that_was_changed(config, tmp_path):
    byte_level_bpe(tmp_path / "bpe")
    prepare(config(tokenizer=f"hf:{tmp_path / 'bpe'}"), tmp_path / "out")
    path = tmp_path / "out/tokenizer/tokenizer.json"
    tree = json.loads(path.read_text())
    vocab = tree["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    path.write_text(json.dumps(tree))
    with pytest.raises(BadInputError, match="not the tokenizer that the corpus was prepared with"):
        open_corpus(config(f"prepared:{tmp_path / 'out'}"))
