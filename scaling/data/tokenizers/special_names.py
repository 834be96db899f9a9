"""Which tokens of a tokenizer are special: what its files say, and otherwise their usual names."""

from collections.abc import Mapping
from typing import Any

from scaling.objectives.specials import SpecialTokens
from scaling.runtime.errors import BadInputError

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
# Names in published tokenizers, for files that do not say (GPT-2's). The first that exists is taken.
_USUAL = {
    "bos": ("<|begin_of_text|>", "<s>", "<bos>", "<｜begin▁of▁sentence｜>"),
    "eos": ("<|end_of_text|>", "<|endoftext|>", "</s>", "<eos>", "<｜end▁of▁sentence｜>"),
    "unk": ("<unk>", "[UNK]"),
    "sep": ("[SEP]", "<sep>"),
    "pad": ("<pad>", "[PAD]", "<|padding|>", "<|pad|>"),
    "cls": ("[CLS]", "<cls>"),
    "mask": ("[MASK]", "<mask>"),
}
# The ends of a turn of a conversation. Where `eos` is one of them, documents end with a base model's token.
_TURNS = ("<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<end_of_turn>")
_DOCUMENTS = ("<|end_of_text|>", "<|endoftext|>", "<eos>", "</s>")


def special_tokens(
    ids: Mapping[str, int],
    names: Mapping[str, Any],
    numbers: Mapping[str, Any],
) -> SpecialTokens:
    """The special tokens of a vocabulary.

    Args:
      ids: ids by token.
      names: of `tokenizer_config.json` and `special_tokens_map.json`: `eos_token`, `mask_token` and so on. A
        name that is null says that there is none; a name that is not in the vocabulary is none.
      numbers: of the model's `config.json`: `eos_token_id` and so on, for tokens that `names` leaves open.
    """
    known: dict[str, int | None] = {}
    for role in ROLES:
        if f"{role}_token" in names:
            known[role] = ids.get(content_of(names[f"{role}_token"]) or "")
        elif (number := _number(numbers.get(f"{role}_token_id"))) is not None and number in ids.values():
            known[role] = number
        else:
            known[role] = next((ids[name] for name in _USUAL[role] if name in ids), None)
    if "<mask>" in ids:  # RoBERTa's pairs: <s> A </s></s> B </s>
        for role, name in (("cls", "<s>"), ("sep", "</s>")):
            if known[role] is None and f"{role}_token" not in names:
                known[role] = ids.get(name)
    sentinels: list[int] = []
    while (sentinel := ids.get(f"<extra_id_{len(sentinels)}>")) is not None:
        sentinels.append(sentinel)
    return SpecialTokens(**known, sentinels=tuple(sentinels))


def end_of_text(special: SpecialTokens, ids: Mapping[str, int], name: str) -> int:
    """The token that separates documents: `eos`; [SEP] of tokenizers without one, as BERT's.

    Chat tokenizers declare the end of a turn as `eos`; they separate documents with the token that the base
    models of their family use.

    Raises:
      BadInputError: there is none.
    """
    turns = [ids[turn] for turn in _TURNS if turn in ids]
    if special.eos in turns:
        return next((ids[document] for document in _DOCUMENTS if document in ids), special.eos)
    found = special.eos if special.eos is not None else special.sep
    if found is None:
        raise BadInputError(
            f"data.tokenizer: {name} has no end-of-sequence token to put between documents; name one of its "
            'tokens in tokenizer_config.json in the same folder: {"eos_token": "..."}'
        )
    return found


def content_of(name: Any) -> str | None:
    """A token in a settings file: its text, or a mapping with it."""
    content = name.get("content") if isinstance(name, dict) else name
    return content if isinstance(content, str) else None


def _number(value: Any) -> int | None:
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, int) and not isinstance(first, bool) else None
