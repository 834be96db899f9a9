"""What `score` reads: rows of ids from a file, or a text as rows of ids."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.train.trained import Trained

Ids = list[list[int]]


def check_logits(path: Path) -> None:
    """Refuse a path that logits cannot be written to.

    Raises:
        BadInputError: another suffix than .npy, or a missing directory.
    """
    if path.suffix != ".npy" or not path.absolute().parent.is_dir():
        raise BadInputError(f"--logits {path}: give a .npy file in a directory that exists")


def read_ids(path: Path) -> tuple[Ids, Ids | None]:
    """The rows of ids in a JSON file, and those of the decoder where it has them.

    Raises:
        BadInputError: no such file, not JSON, unknown keys, or rows that are not lists of whole numbers.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInputError(f"--ids {path}: no such file") from error
    except OSError as error:
        raise BadInputError(f"--ids {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"--ids {path}: not JSON ({str(error)[:120]})") from error
    form = '{"ids": [[...]]}, and "decoder_ids" for an encoder-decoder'
    if not isinstance(tree, dict) or "ids" not in tree:
        raise BadInputError(f"--ids {path}: expected {form}")
    unknown = sorted(set(tree) - {"ids", "decoder_ids"})
    if unknown:
        raise BadInputError(f"--ids {path}: {unknown[0][:60]!r} is not known; expected {form}")
    return _checked(tree["ids"], "ids", path), (
        None if tree.get("decoder_ids") is None else _checked(tree["decoder_ids"], "decoder_ids", path)
    )


def _checked(value: Any, name: str, path: Path) -> Ids:
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        raise BadInputError(f"--ids {path}: {name} is not a list of lists")
    for i, row in enumerate(value):
        for j, id_ in enumerate(row):
            if isinstance(id_, bool) or not isinstance(id_, int):
                raise BadInputError(f"--ids {path}: {name}[{i}][{j}]={str(id_)[:60]!r} is not a whole number")
    return value


def read_text(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        BadInputError: no such file, not UTF-8, or empty.
    """
    try:
        text = path.read_bytes().decode("utf-8")  # line ends as they are: a corpus keeps them too
    except FileNotFoundError as error:
        raise BadInputError(f"--text {path}: no such file") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"--text {path}: not UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise BadInputError(f"--text {path}: {error.strerror or error}") from error
    if not text:
        raise BadInputError(f"--text {path}: the file is empty")
    return text


def text_rows(trained: "Trained", text: str) -> tuple[Ids, Ids | None]:
    """A text as rows of at most the model's positions, each of its tokens once, and rows of the decoder.

    A decoder's first row starts with what texts start with in training, and each further row with the last
    token of the row before. An encoder's rows are framed as its tokenizer frames texts. An encoder-decoder
    reads an empty text and writes the rows, the last of which ends as its tokenizer ends texts.

    Raises:
        BadInputError: the run has no tokenizer.
    """
    config, opening, closing = trained.run.model, trained.opening, trained.closing
    tokens, size = trained.tokenizer.encode(text).tolist(), config.max_length
    if config.family == "encoder":
        step = size - len(opening) - len(closing)
        if step < 1:
            raise BadInputError(f"--text: the model has {size} positions, which [CLS] and [SEP] fill")
        return [[*opening, *tokens[i : i + step], *closing] for i in range(0, len(tokens), step)], None
    step = max(1, size - 1)
    if config.two_sided:
        tokens = [*tokens, *closing]
        written = [[trained.start, *tokens[i : i + step]] for i in range(0, len(tokens), step)]
        empty = [*opening, *closing] or [trained.start]
        return [empty] * len(written), written
    tokens = [trained.start, *tokens]
    return [tokens[i : i + size] for i in range(0, len(tokens) - 1, step)], None
