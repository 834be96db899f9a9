"""How the train step cuts its long arrays. The models cut by these rules and the estimator counts by them."""

Bounds = tuple[tuple[int, int], ...]

# Narrower blocks skip more of the masked half, and pay for it in smaller matrix products and a longer graph.
_SMALLEST_BLOCK = 128
_MOST_BLOCKS = 8
# Logits formed at once on a device where no chunk is given: 2**25 fp32 numbers are 128 MiB.
_LOGITS_AT_ONCE = 2**25
# Fewer positions than this a chunk, and the loop costs more than the memory it saves.
_FEWEST_POSITIONS = 64


def attention_blocks(length: int, block: int | None = None) -> Bounds:
    """Cuts of a sequence into the blocks of attention; the last one takes the remainder."""
    if block is None:
        block = max(_SMALLEST_BLOCK, -(-length // _MOST_BLOCKS))
    return tuple((start, min(start + block, length)) for start in range(0, length, block))


def logits_chunk(rows: int, length: int, vocab_size: int, chunk: int | None = None) -> int:
    """Positions of each of a device's `rows` sequences whose logits are formed at once, at most `length`.

    Raises:
        ValueError: a chunk below one position.
    """
    if chunk is None:
        chunk = max(_FEWEST_POSITIONS, _LOGITS_AT_ONCE // (rows * vocab_size))
        chunk = -(-length // -(-length // chunk))  # as many chunks, of even length
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1 position, got {chunk}")
    return min(chunk, length)
