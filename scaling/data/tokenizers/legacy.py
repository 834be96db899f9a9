"""Tokenizers of older checkpoints, as a `tokenizer.json` would have them."""

from typing import Any

from scaling.runtime.errors import BadInputError

Tree = dict[str, Any]
# The pre-tokeniser of GPT-4 and, with other runs of digits, of LLaMA 3 and Qwen 2: see `split_pattern`.
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_GPT1 = ("openai-gpt", "OpenAIGPTTokenizer")
_QWEN = ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "Qwen2Tokenizer")
# vocab.json with merges.txt that are not byte-level BPE of GPT-2's or Qwen's kind.
_OTHER_BPE = (
    "clip", "CLIPTokenizer", "ctrl", "CTRLTokenizer", "xlm", "XLMTokenizer", "whisper", "WhisperTokenizer",
    "blenderbot", "BlenderbotTokenizer", "herbert", "HerbertTokenizer",
)  # fmt: skip


def byte_level(pattern: str | None = None, *, add_prefix_space: bool = False) -> Tree:
    """The pre-tokeniser of byte-level BPE, with GPT-2's pattern by default, and its decoder."""
    level = {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True}
    decoder = level | {"use_regex": True}
    if pattern is None:
        return {"pre_tokenizer": level | {"use_regex": True}, "decoder": decoder}
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    steps = [split, level | {"use_regex": False}]
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}, "decoder": decoder}


def bpe_tree(vocab: dict[str, int], merges: str, settings: dict[str, Tree], name: str) -> Tree:
    """`vocab.json` and `merges.txt` of GPT-1, GPT-2 and its relatives, or Qwen.

    Raises:
      BadInputError: a line of `merges` is no pair, or the folder's settings name another kind.
    """
    kinds = kinds_of(settings)
    if found := kinds & set(_OTHER_BPE):
        raise needs_tokenizer_json(name, found)
    model: Tree = {"type": "BPE", "vocab": vocab, "merges": _merges(merges, name), "unk_token": None}
    if kinds & set(_GPT1):
        unknown = "<unk>" if "<unk>" in vocab else None
        return {
            "model": model | {"unk_token": unknown, "end_of_word_suffix": "</w>"},
            "normalizer": _bert_normalizer(lowercase=True),
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "decoder": {"type": "BPEDecoder", "suffix": "</w>"},
        }
    prefix_space = bool(settings.get("tokenizer_config.json", {}).get("add_prefix_space"))
    if kinds & set(_QWEN):
        parts = byte_level(_QWEN2, add_prefix_space=prefix_space)
        return parts | {"model": model, "normalizer": {"type": "NFC"}}
    return byte_level(add_prefix_space=prefix_space) | {"model": model}


def wordpiece_tree(vocab: str, settings: dict[str, Tree], name: str) -> Tree:
    """`vocab.txt` of BERT and its relatives: a token per line.

    Raises:
      BadInputError: it has no token for unknown words.
    """
    config = settings.get("tokenizer_config.json", {})
    ids: dict[str, int] = {}
    for number, line in enumerate(vocab.removesuffix("\n").split("\n")):
        ids[line.rstrip("\r\n")] = number
    unknown = config.get("unk_token", "[UNK]")
    unknown = unknown.get("content") if isinstance(unknown, dict) else unknown
    if unknown not in ids:
        raise BadInputError(
            f"data.tokenizer: {name} has no {unknown} for unknown words, so is not a WordPiece vocabulary"
        )
    return {
        "model": {
            "type": "WordPiece",
            "vocab": ids,
            "unk_token": unknown,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
        },
        "normalizer": _bert_normalizer(
            lowercase=config.get("do_lower_case", True),
            chinese=config.get("tokenize_chinese_chars", True),
            accents=config.get("strip_accents"),
        ),
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    }


def _bert_normalizer(*, lowercase: bool, chinese: bool = True, accents: bool | None = None) -> Tree:
    return {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": chinese,
        "strip_accents": accents,
        "lowercase": lowercase,
    }


def needs_tokenizer_json(name: object, kinds: set[str]) -> BadInputError:
    """The refusal of files that do not describe their tokenizer completely."""
    return BadInputError(
        f"data.tokenizer: {name} is of {min(kinds)}, which needs its tokenizer.json; save one with "
        "transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
    )


def kinds_of(settings: dict[str, Tree]) -> set[str]:
    """The names by which a folder's settings say what its tokenizer is: `None` where they do not."""
    tokenizer_class = str(settings.get("tokenizer_config.json", {}).get("tokenizer_class"))
    return {str(settings.get("config.json", {}).get("model_type")), tokenizer_class.removesuffix("Fast")}


def _merges(text: str, name: str) -> list[list[str]]:
    merges = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = line.split(" ")
        if len(pair) != 2 or not all(pair):
            raise BadInputError(
                f"data.tokenizer: merges.txt next to {name}, line {number}: expected two tokens, found "
                f"{line[:60]!r}"
            )
        merges.append(pair)
    return merges
