"""tiktoken's files: the ids of its algorithm, and of transformers' converter, on 10,000 lines."""

import itertools
import json

import numpy as np
import pytest

from scaling.data.tokenizers import load_tokenizer
from scaling.data.tokenizers.definition import byte_alphabet
from scaling.data.tokenizers.tiktoken import ENCODINGS
from scaling.runtime.errors import BadInputError
from tests.data.tokenizers.small import RANKS, write_ranks


@pytest.fixture(scope="session")
def ranks(folders):
    """The tokens of a trained byte-level BPE in the order of their merges."""
    vocab = json.loads((folders["llama3"] / "tokenizer.json").read_text())["model"]["vocab"]
    alphabet = byte_alphabet()
    tokens = [bytes(alphabet[c] for c in piece) for piece in sorted(vocab, key=vocab.__getitem__)]
    return sorted(tokens, key=len)[:256] + [token for token in tokens if len(token) > 1]


def merged(word: bytes, ranks: dict[bytes, int]) -> list[int]:
    """Byte-pair encoding as tiktoken's educational implementation has it: the lowest rank first."""
    if word in ranks:
        return [ranks[word]]
    parts = [word[i : i + 1] for i in range(len(word))]
    while True:
        pairs = [(ranks[a + b], i) for i, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in ranks]
        if not pairs:
            return [ranks[part] for part in parts]
        i = min(pairs)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


@pytest.mark.parametrize("encoding", ["r50k", "cl100k", "o200k"])
def test_ids_of_the_algorithm(ranks, lines, tmp_path, encoding):
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Split

    path = write_ranks(tmp_path / f"{encoding}_base.tiktoken", ranks)
    ours = load_tokenizer(f"tiktoken:{path}")
    pattern = ENCODINGS[encoding].pattern
    split = Split(Regex(pattern), behavior="isolated") if pattern else None
    by_token = {token: rank for rank, token in enumerate(ranks)}
    alphabet = byte_alphabet()
    for line in lines[::3]:
        if split is None:
            found = ByteLevel(add_prefix_space=False).pre_tokenize_str(line)
            words = [bytes(alphabet[c] for c in word) for word, _ in found]
        else:
            words = [word.encode() for word, _ in split.pre_tokenize_str(line)]
        expected = [i for word in words for i in merged(word, by_token)]
        assert ours.encode(line).tolist() == expected
        assert ours.decode(expected) == line
    assert ours.lossless


def test_ids_of_transformers(ranks, lines, tmp_path, monkeypatch):
    converter = pytest.importorskip("transformers.convert_slow_tokenizer").TikTokenConverter
    path = write_ranks(tmp_path / "tokenizer.model", ranks)
    loaded = {token: rank for rank, token in enumerate(ranks)}
    monkeypatch.setattr(converter, "load_tiktoken_bpe", staticmethod(lambda file: loaded))
    theirs = converter(str(path)).converted()
    ours = load_tokenizer(f"tiktoken:llama3:{path}")
    expected = [encoding.ids for encoding in theirs.encode_batch(lines, add_special_tokens=False)]
    assert [ids.tolist() for ids in ours.encode_many(lines)] == expected
    # LLaMA 3 as Meta publishes it: the same file in a folder.
    assert load_tokenizer(f"hf:{tmp_path}").identity == ours.identity


def test_by_hand(tmp_path):
    tokenizer = load_tokenizer(f"tiktoken:{write_ranks(tmp_path / 'cl100k_base.tiktoken')}")
    # "ab" 256, "abc" 257, " d" 258, " de" 259, "de" 260, "12" 261, "123" 262
    assert tokenizer.encode("abc de").tolist() == [257, 259]
    assert tokenizer.encode("12345").tolist() == [262, ord("4"), ord("5")]  # at most three digits
    assert tokenizer.encode("é").tolist() == list("é".encode())


@pytest.mark.parametrize(
    ("encoding", "size", "special"),
    [
        ("gpt2", 264, {"eos": 263}),
        ("r50k", 264, {"eos": 263}),
        ("cl100k", 284, {"eos": 264}),
        ("o200k", 284, {"eos": 264}),
        ("llama3", 519, {"bos": 263, "eos": 264}),
    ],
)
def test_special_tokens_follow_the_ranks(tmp_path, encoding, size, special):
    path = write_ranks(tmp_path / "ranks")
    tokenizer = load_tokenizer(f"tiktoken:{encoding}:{path}")
    assert (tokenizer.vocab_size, tokenizer.special.to_dict()) == (size, special)
    assert tokenizer.end_of_text == special["eos"]
    assert len(tokenizer.byte_lengths()) == size and tokenizer.byte_lengths()[len(RANKS) :].sum() == 0
    assert tokenizer.decode(np.arange(len(RANKS), size)) == ""
    assert tokenizer.end_of_text not in tokenizer.encode("<|endoftext|><|end_of_text|>")


def test_published_ids():
    """Places after the last rank give the published ids (tiktoken_ext/openai_public.py, LLaMA 3)."""
    last = {"r50k": 50_256, "cl100k": 100_256, "o200k": 199_998, "llama3": 128_000}
    published = {
        "r50k": {"<|endoftext|>": 50_256},
        "cl100k": {"<|endoftext|>": 100_257, "<|fim_prefix|>": 100_258, "<|fim_middle|>": 100_259,
                   "<|fim_suffix|>": 100_260, "<|endofprompt|>": 100_276},
        "o200k": {"<|endoftext|>": 199_999, "<|endofprompt|>": 200_018},
        "llama3": {"<|begin_of_text|>": 128_000, "<|end_of_text|>": 128_001, "<|start_header_id|>": 128_006,
                   "<|end_header_id|>": 128_007, "<|eot_id|>": 128_009,
                   "<|reserved_special_token_250|>": 128_255},
    }  # fmt: skip
    for encoding, ids in published.items():
        places = ENCODINGS[encoding].special
        assert {token: last[encoding] + places[token] for token in ids} == ids
    assert len(ENCODINGS["llama3"].special) == 256


def test_p50k_has_end_of_text_in_the_gap_of_its_ranks(tmp_path):
    lines = write_ranks(tmp_path / "all").read_text().splitlines()
    del lines[259]
    (tmp_path / "p50k_base.tiktoken").write_text("\n".join(lines) + "\n")
    tokenizer = load_tokenizer(f"tiktoken:{tmp_path}/p50k_base.tiktoken")
    assert (tokenizer.end_of_text, tokenizer.vocab_size) == (259, len(RANKS))
    with pytest.raises(BadInputError, match="no token of rank 259"):
        load_tokenizer(f"tiktoken:cl100k:{tmp_path}/p50k_base.tiktoken")
