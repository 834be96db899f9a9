"""Learning a SentencePiece model: lossless, deterministic."""

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from scaling.data.sources import Source
from scaling.data.tokenizer_training.reading import END_OF_TEXT, Progress, reported, sample
from scaling.data.tokenizer_training.writing import write_files
from scaling.data.tokenizers import SentencePieceTokenizer
from scaling.runtime.errors import BadInputError

_CHUNK_BYTES = 4000  # SentencePiece leaves out "sentences" over max_sentence_length (4192 by default)


def train_sentencepiece(
    source: Source,
    out: str | Path,
    *,
    vocab_size: int,
    model_type: Literal["bpe", "unigram"] = "bpe",
    seed: int = 0,
    max_bytes: int = 50_000_000,
    progress: Progress | None = None,
) -> SentencePieceTokenizer:
    """Trains a model on up to `max_bytes` of text, writes it to `out`, and returns it.

    The model neither normalises nor adds or strips spaces, and falls back on bytes, so that decoding an
    encoding gives back the text, whatever it is. Ids: 0 unknown (never used), 1 end of text, 2 to 257 bytes.
    One thread and a seeded choice of documents: the same input gives the same file.

    Args:
      source: where the text comes from.
      out: the `.model` file; its folder is made. Replaced only once training has ended well.
      vocab_size: V, exactly, the 258 tokens above included.
      model_type: `bpe` (Sennrich et al. 2016) or `unigram` (Kudo 2018; some twenty times slower to train).
      seed: which documents are read where the source is larger than `max_bytes`.
      max_bytes: text to train on; memory grows with it.
      progress: called with bytes read and bytes to read.

    Raises:
      BadInputError: a vocabulary that the text is too small or too varied for, or `out` not writable.
    """
    out = Path(os.path.expanduser(out))
    if out.is_dir():
        raise BadInputError(f"out={out} is a folder; give a file to write the model to")
    texts = reported(sample(source, seed, max_bytes), max_bytes, progress)
    model = sentencepiece_model(texts, vocab_size=vocab_size, model_type=model_type)
    tokenizer = SentencePieceTokenizer(model, name=str(out))
    write_files(out.parent, {out.name: model})
    return tokenizer


def sentencepiece_model(texts: Iterable[str], *, vocab_size: int, model_type: str) -> bytes:
    """A model of texts, as `train_sentencepiece` describes it.

    Raises:
      BadInputError: a vocabulary that the text is too small or too varied for.
    """
    import sentencepiece

    if vocab_size < 259:
        raise BadInputError(
            f"vocab_size={vocab_size}: at least 259 (256 bytes, unknown, end of text, a piece)"
        )
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_chunks(texts),
            model_writer=model,
            model_type=model_type,
            vocab_size=vocab_size,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,  # runs of spaces, as code and tables have them
            byte_fallback=True,
            max_sentence_length=4 * _CHUNK_BYTES,
            unk_id=0,
            eos_id=1,
            eos_piece=END_OF_TEXT,
            bos_id=-1,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        # The message opens with a place in C++ source; what a reader needs comes after the last bracket.
        reason = str(error).rsplit("] ", 1)[-1].split(" or decrease character_coverage")[0]
        raise BadInputError(f"vocab_size={vocab_size}: SentencePiece could not train: {reason}") from None
    return model.getvalue()


def _chunks(texts: Iterable[str]) -> Iterator[str]:
    """Texts cut at line ends (long lines anywhere) into pieces that SentencePiece does not leave out."""
    for text in texts:
        pending = ""
        for line in text.splitlines(keepends=True):
            # A character is at most four bytes of UTF-8.
            for start in range(0, len(line), _CHUNK_BYTES // 4):
                part = line[start : start + _CHUNK_BYTES // 4]
                if pending and len(pending) + len(part) > _CHUNK_BYTES // 4:
                    yield pending
                    pending = ""
                pending += part
        if pending:
            yield pending
