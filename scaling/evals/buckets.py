"""Lengths rounded up to few sizes: a size more is a program more, and compiling one takes seconds."""

_SMALLEST = 8
_HALVES_FROM = 128
_CACHES = tuple(32 * 4**i for i in range(13))


def bucket(length: int) -> int:
    """The least of 8, 16, 32, 64, 128, 192, 256, 384, 512, ... that holds `length` tokens."""
    size = _SMALLEST
    while size < length:
        if size >= _HALVES_FROM and length <= size + size // 2:
            return size + size // 2
        size *= 2
    return size


def cache_length(length: int, positions: int) -> int:
    """Room of a cache for `length` tokens: what the model's `positions` need, or 32, 128, 512, ..."""
    return min(size for size in (bucket(positions), *_CACHES) if size >= length)


def power_of_two(count: int) -> int:
    """The least power of two that is at least `count`."""
    return 1 << max(0, count - 1).bit_length()
