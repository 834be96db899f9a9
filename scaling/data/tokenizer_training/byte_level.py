"""Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019)."""

from collections.abc import Iterable
from typing import Any

from scaling.data.tokenizer_training.reading import END_OF_TEXT

SETTINGS = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "unk_token": None}
FEWEST = 258  # 256 bytes, end of text, a merge


def train(texts: Iterable[str], vocab_size: int) -> Any:
    """A tokenizer with GPT-2's pattern of words. Id 0 is end of text; then the bytes, then merges.

    Every text is decoded to itself.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
