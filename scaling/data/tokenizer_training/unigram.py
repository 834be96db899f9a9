"""Unigram (Kudo 2018): learned by SentencePiece, written for the `tokenizers` library."""

from collections.abc import Iterable
from typing import Any

from scaling.data.tokenizer_training.reading import END_OF_TEXT
from scaling.data.tokenizer_training.sentencepiece import sentencepiece_model
from scaling.data.tokenizers.definition import SPACE_MARK

SETTINGS = {"bos_token": None, "eos_token": END_OF_TEXT, "unk_token": "<unk>"}
FEWEST = 259


def train(texts: Iterable[str], vocab_size: int) -> Any:
    """A tokenizer that neither normalises nor adds spaces, with bytes for characters without a piece.

    Ids: 0 unknown (never used), 1 end of text, 2 to 257 bytes. The library's own trainer gives another result
    each time.
    """
    import sentencepiece
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    processor: Any = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(sentencepiece_model(texts, vocab_size=vocab_size, model_type="unigram"))
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(processor.get_piece_size())]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=processor.unk_id(), byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", SPACE_MARK)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # Text that reads like a byte piece, <0x41>, is not one.
            pre_tokenizers.Split("<0x", behavior="isolated"),
            # No piece goes on after a space within it, so that words can be encoded one by one.
            pre_tokenizers.Split(Regex(f"{SPACE_MARK}*[^{SPACE_MARK}]+|{SPACE_MARK}+"), behavior="isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE_MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    return tokenizer
