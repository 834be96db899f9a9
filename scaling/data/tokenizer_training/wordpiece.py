"""WordPiece, with BERT's uncased settings (Devlin et al. 2018)."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SETTINGS = {f"{mark[1:-1].lower()}_token": mark for mark in MARKS} | {"do_lower_case": True}
FEWEST = 64
_PREFIX = "##"
_MOST_CHARACTERS = 1000  # BERT's limit_alphabet


def train(texts: Iterable[str], vocab_size: int) -> Any:
    """A tokenizer of lower-case words. Ids 0 to 4 are [PAD], [UNK], [CLS], [SEP] and [MASK].

    Characters that are not among the most frequent are unknown. Spaces and case are lost.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    normalizer = tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=_PREFIX)
    counts: Counter[str] = Counter()
    # The characters are needed before training, so the texts are kept.
    kept = [*_counted((normalizer.normalize_str(text) for text in texts), counts)]
    ranked = sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))
    characters = sorted(ranked[: min(_MOST_CHARACTERS, vocab_size // 4)])
    # The library numbers characters inside words in an order that differs from run to run, and breaks ties by
    # number: as given tokens they have a fixed one.
    inside = [_PREFIX + character for character in characters]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*MARKS, *inside],
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        continuing_subword_prefix=_PREFIX,
        show_progress=False,
    )
    tokenizer.train_from_iterator(kept, trainer)
    tree = json.loads(tokenizer.to_str())
    tree["added_tokens"] = tree["added_tokens"][: len(MARKS)]
    tokenizer = Tokenizer.from_str(json.dumps(tree))
    ids = {mark: tokenizer.token_to_id(mark) for mark in ("[CLS]", "[SEP]")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[*ids.items()]
    )
    return tokenizer


def _counted(texts: Iterable[str], counts: Counter[str]) -> Iterator[str]:
    for text in texts:
        counts.update(text)
        yield text
