"""The files of a Hugging Face tokenizer: a folder, or one `tokenizer.json`."""

import json
from pathlib import Path
from typing import Any

from scaling.data.tokenizers import tiktoken
from scaling.data.tokenizers.definition import Definition
from scaling.data.tokenizers.hugging_face import HuggingFaceTokenizer
from scaling.data.tokenizers.legacy import bpe_tree, kinds_of, needs_tokenizer_json, wordpiece_tree
from scaling.data.tokenizers.protocol import Tokenizer
from scaling.data.tokenizers.sentencepiece import SentencePieceTokenizer
from scaling.data.tokenizers.special_names import content_of, end_of_text, special_tokens
from scaling.runtime.errors import BadInputError

TOKENIZER = "tokenizer.json"
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json")
# What is looked for in a folder, in this order.
FORMATS = ((TOKENIZER,), ("vocab.json", "merges.txt"), ("vocab.txt",))
MODELS = ("spiece.model", "tokenizer.model")


def read_folder(path: Path) -> Tokenizer:
    """The tokenizer in a folder, or in one file.

    Next to `tokenizer.json`, the settings of the folder say which tokens are special.

    Raises:
      BadInputError: there is none, its files are damaged or of a kind that is not known, or no token can
        separate documents.
    """
    files = tokenizer_files(path)
    main = files[0]
    if main.name in MODELS:
        return _sentencepiece(files)
    settings = {file.name: _read_json(file, dict) for file in files if file.name in SETTINGS}
    if main.name == "vocab.json":
        tree = bpe_tree(_read_json(main, dict), _read_text(files[1]), settings, str(main))
    elif main.name == "vocab.txt":
        tree = wordpiece_tree(_read_text(main), settings, str(main))
    else:
        tree = _read_json(main, dict)
    definition = _with_added(Definition(tree, str(main)), settings)
    names = _names(settings)
    special = special_tokens(definition.ids, names, settings.get("config.json", {}))
    return HuggingFaceTokenizer(definition, special, end_of_text(special, definition.ids, str(main)))


def tokenizer_files(path: Path) -> list[Path]:
    """The files that make the tokenizer at `path`, the one with its vocabulary first.

    Raises:
      BadInputError: there is none.
    """
    if path.is_dir():
        for names in (*FORMATS, *((model,) for model in MODELS)):
            if (path / names[0]).is_file():
                missing = [name for name in names if not (path / name).is_file()]
                if missing:
                    raise BadInputError(f"data.tokenizer: {path} has {names[0]} but no {missing[0]}")
                return [*(path / name for name in names), *_settings_in(path)]
        wanted = ", ".join([" with ".join(names) for names in FORMATS] + [*MODELS])
        raise BadInputError(f"data.tokenizer: no tokenizer in {path}; looked for {wanted}")
    if not path.is_file():
        raise BadInputError(
            f"data.tokenizer=hf:{path}: no such folder or file; give a folder with {TOKENIZER}, or that file "
            "(nothing is downloaded)"
        )
    if path.name in (*MODELS, "vocab.txt", "vocab.json", "merges.txt"):
        return tokenizer_files(path.parent)
    return [path, *(_settings_in(path.parent) if path.name == TOKENIZER else ())]


def _settings_in(folder: Path) -> list[Path]:
    return [folder / name for name in SETTINGS if (folder / name).is_file()]


def _names(settings: dict[str, Any]) -> dict[str, Any]:
    return settings.get("special_tokens_map.json", {}) | settings.get("tokenizer_config.json", {})


def _with_added(definition: Definition, settings: dict[str, Any]) -> Definition:
    """The definition with the added tokens that only the settings name."""
    found = {
        content: {"id": i, "content": content} for content, i in settings.get("added_tokens.json", {}).items()
    }
    decoder = settings.get("tokenizer_config.json", {}).get("added_tokens_decoder") or {}
    try:
        for i, token in decoder.items():
            found[token["content"]] = token | {"id": int(i)}
        new = [token for content, token in found.items() if content not in definition.ids]
        new.sort(key=lambda token: token["id"])
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadInputError(
            f"data.tokenizer: the added tokens next to {definition.name} are damaged: {str(error)[:120]}"
        ) from None
    if not new:
        return definition
    named = {content_of(value) for key, value in _names(settings).items() if key.endswith("_token")}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    new = [
        plain | token | {"special": bool(token.get("special")) or token["content"] in named} for token in new
    ]
    held = definition.tree["added_tokens"]
    return Definition(definition.tree | {"added_tokens": [*held, *new]}, definition.name)


# What a SentencePiece model alone describes completely. Others shift ids or change texts before it.
_SENTENCEPIECE = (
    "t5",
    "mt5",
    "umt5",
    "llama",
    "mistral",
    "mixtral",
    "T5Tokenizer",
    "MT5Tokenizer",
    "LlamaTokenizer",
)
_EXTRA_IDS = 100  # of T5, without tokenizer_config.json


def _sentencepiece(files: list[Path]) -> Tokenizer:
    main = files[0]
    settings = {file.name: _read_json(file, dict) for file in files if file.name in SETTINGS}
    if tiktoken.is_ranks(main):  # LLaMA 3 as Meta publishes it
        return tiktoken.read_tiktoken(f"llama3:{main}")
    kinds = {kind for kind in kinds_of(settings) if kind != "None"}
    if kinds and not kinds & set(_SENTENCEPIECE):
        raise needs_tokenizer_json(main, kinds)
    added: list[str] = []
    if any("T5" in kind.upper() for kind in kinds):
        count = settings.get("tokenizer_config.json", {}).get("extra_ids", _EXTRA_IDS)
        added = [f"<extra_id_{number}>" for number in reversed(range(count))]
    return SentencePieceTokenizer.load(main, added=added)


def _read_json(file: Path, kind: type) -> Any:
    try:
        tree = json.loads(_read_text(file))
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"data.tokenizer: {file} is not JSON: {str(error)[:120]}") from None
    if not isinstance(tree, kind):
        raise BadInputError(f"data.tokenizer: {file}: expected a mapping, found a {type(tree).__name__}")
    return tree


def _read_text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(f"data.tokenizer: {file} is not UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise BadInputError(f"data.tokenizer: cannot read {file}: {error.strerror}") from None
