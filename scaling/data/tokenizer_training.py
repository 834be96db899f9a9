"""Learning a SentencePiece model from a source: lossless, deterministic, written completely or not at all."""

import io
import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from scaling.data.sources import Source, sampled_texts
from scaling.data.tokenizers import SentencePieceTokenizer
from scaling.runtime.errors import BadInputError

END_OF_TEXT_PIECE = "<|endoftext|>"
_CHUNK_BYTES = 4000  # SentencePiece leaves out "sentences" over max_sentence_length (4192 by default)


def train_sentencepiece(
    source: Source,
    out: str | Path,
    *,
    vocab_size: int,
    model_type: Literal["bpe", "unigram"] = "bpe",
    seed: int = 0,
    max_bytes: int = 50_000_000,
    progress: Callable[[int, int], None] | None = None,
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
    import sentencepiece

    if vocab_size < 259:
        raise BadInputError(
            f"vocab_size={vocab_size}: at least 259 (256 bytes, unknown, end of text, a piece)"
        )
    out = Path(os.path.expanduser(out))
    if out.is_dir():
        raise BadInputError(f"out={out} is a folder; give a file to write the model to")
    texts = sampled_texts(source, seed, max_bytes)
    if (first := next(texts, None)) is None:
        raise BadInputError("source: there is no text in it to train a tokenizer on")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_chunks(itertools.chain([first], texts), max_bytes, progress),
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
            eos_piece=END_OF_TEXT_PIECE,
            bos_id=-1,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        # The message opens with a place in C++ source; what a reader needs comes after the last bracket.
        reason = str(error).rsplit("] ", 1)[-1].split(" or decrease character_coverage")[0]
        raise BadInputError(f"vocab_size={vocab_size}: SentencePiece could not train: {reason}") from None
    tokenizer = SentencePieceTokenizer(model.getvalue(), name=str(out))
    _write_whole(out, model.getvalue())
    return tokenizer


def _chunks(
    texts: Iterable[str], max_bytes: int, progress: Callable[[int, int], None] | None
) -> Iterator[str]:
    """Texts cut at line ends (long lines anywhere) into pieces that SentencePiece does not leave out."""
    done = 0
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
        done += len(text.encode("utf-8"))
        if progress:
            progress(min(done, max_bytes), max_bytes)


def _write_whole(out: Path, content: bytes) -> None:
    temporary = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}.", delete=False) as file:
            temporary = file.name
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # a temporary file is private to its writer
        os.replace(temporary, out)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise BadInputError(f"out={out}: cannot write the model: {error.strerror}") from None
