"""The tokenizer of a checkpoint: found next to the weights, and written with an export."""

import json
import shutil
from pathlib import Path
from typing import Any

from scaling.config.data import DataConfig
from scaling.data.tokenizers import ByteTokenizer, load_tokenizer
from scaling.data.tokenizers.definition import byte_alphabet
from scaling.data.tokenizers.files import COPIES, contents, inner_name, kind_of, name_at, place_of
from scaling.data.tokenizers.folder import FORMATS, MODELS, SETTINGS, TOKENIZER, tokenizer_files
from scaling.hf.weight_files import CONFIG, read_json
from scaling.runtime.errors import BadInputError
from scaling.train.run_tokenizer import run_tokenizer, tokenizer_path

_SETTINGS = "tokenizer_config.json"
# Classes of transformers that frame every text: the roles of the tokens before and after it.
_FRAMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bert": (("cls",), ("sep",)),
    "albert": (("cls",), ("sep",)),
    "roberta": (("bos",), ("eos",)),
    "t5": ((), ("eos",)),
}
_LLAMA = ("llama", "mistral")  # their SentencePiece models are used with <s> before a text
_END = "<|endoftext|>"


def tokenizer_in(source: Path) -> str | None:
    """The tokenizer among the files of a checkpoint, as `data.tokenizer` names it; None if there is none."""
    names = (*(names[0] for names in FORMATS), *MODELS)
    return f"hf:{source.absolute()}" if any((source / name).is_file() for name in names) else None


def check_tokenizer(name: str, vocab_size: int, field: str) -> None:
    """Refuse a tokenizer that cannot be read or has ids that the model has not.

    A model may have more ids: vocabularies are padded.

    Raises:
        BadInputError: opens with `field`.
    """
    size = load_tokenizer(name).vocab_size
    if size > vocab_size:
        raise BadInputError(
            f"{field} {name}: has {size} pieces, but the vocabulary of the model has {vocab_size}; give "
            "another with --tokenizer, or --tokenizer ids for the weights alone"
        )


def framing(name: str, model_type: str) -> dict[str, list[int]]:
    """The ids that transformers puts before and after a text: `opening` and `closing`.

    From the files of a tokenizer: the post-processor of tokenizer.json, otherwise what its class does; of
    older files also the flags `add_bos_token` and `add_eos_token`. Empty for one without such files.
    """
    if kind_of(name) != "hf":
        return {}
    main, *others = tokenizer_files(place_of(name))
    settings = {file.name: read_json(file) for file in others if file.name in SETTINGS}
    config = settings.get(_SETTINGS, {})
    special = load_tokenizer(name).special
    kind = str(config.get("tokenizer_class") or model_type).lower()
    kind = kind.removesuffix("fast").removesuffix("tokenizer")
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    old = main.name in MODELS or main.name in ("vocab.json", "vocab.txt")
    if not old and read_json(main).get("post_processor"):
        return _processed(main)
    if kind in _FRAMES:
        before, after = _FRAMES[kind]
    elif old:
        begins = main.name in MODELS and kind in _LLAMA
        before = ("bos",) if config.get("add_bos_token", begins) else ()
        after = ("eos",) if config.get("add_eos_token") else ()
    ids = {"opening": [getattr(special, role) for role in before]}
    ids["closing"] = [getattr(special, role) for role in after]
    return {side: [i for i in held if i is not None] for side, held in ids.items()}


def _processed(main: Path) -> dict[str, list[int]]:
    """What the post-processor of a tokenizer.json puts before and after a text."""
    import tokenizers

    encoded = tokenizers.Tokenizer.from_file(str(main)).encode("a")
    marks = [*encoded.special_tokens_mask, 0]
    opens = marks.index(0)
    closes = max(opens, len(encoded.ids) - [*encoded.special_tokens_mask[::-1], 0].index(0))
    return {"opening": encoded.ids[:opens], "closing": encoded.ids[closes:]}


def write_tokenizer(run: Path, data: DataConfig, out: Path) -> None:
    """Write the tokenizer of a run where transformers looks for it; nothing for a run that reads ids.

    Raises:
        BadInputError: the run's files are missing or were changed.
    """
    if data.tokenizer == "ids":
        return
    tokenizer = run_tokenizer(run, data)
    held = data.tokenizer
    if kind_of(held) is not None:
        held = inner_name(name_at(held, tokenizer_path(run, data)))
    for path, file in contents(held).items():
        if Path(path).name != CONFIG:  # that is the model's
            shutil.copyfile(file, out / Path(path).name)
    if isinstance(tokenizer, ByteTokenizer):
        _write_json(out / TOKENIZER, _byte_tree(tokenizer))
    if not (out / _SETTINGS).is_file():
        _write_json(out / _SETTINGS, _settings(tokenizer, out))


def _settings(tokenizer: Any, out: Path) -> dict[str, Any]:
    """tokenizer_config.json of a tokenizer that came without one."""
    tokens = {"eos": tokenizer.end_of_text} | tokenizer.special.to_dict()
    tokens |= {"bos": tokens.get("bos", tokenizer.end_of_text)}
    names = {f"{role}_token": _piece(out, i) for role, i in tokens.items() if role != "sentinel"}
    named = {role: piece for role, piece in names.items() if piece is not None}
    return {"tokenizer_class": "PreTrainedTokenizerFast"} | dict(sorted(named.items()))


def _piece(out: Path, i: int) -> str | None:
    if (out / TOKENIZER).is_file():
        import tokenizers

        piece: str | None = tokenizers.Tokenizer.from_file(str(out / TOKENIZER)).id_to_token(i)
        return piece
    if (out / COPIES["sentencepiece"]).is_file():
        import sentencepiece

        model = sentencepiece.SentencePieceProcessor(model_file=str(out / COPIES["sentencepiece"]))
        return str(model.id_to_piece(i))
    return None


def _byte_tree(tokenizer: ByteTokenizer) -> dict[str, Any]:
    """`bytes` as a tokenizer.json: byte-level BPE without merges."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": tokenizer.end_of_text, "content": _END, **flags, "special": True}],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": byte_alphabet() | {_END: tokenizer.end_of_text},
            "merges": [],
        },
    }


def _write_json(path: Path, tree: dict[str, Any]) -> None:
    path.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
