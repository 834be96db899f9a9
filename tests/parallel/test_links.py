"""The links of groups of devices, from where these are."""

import pytest

from scaling.parallel.links import Place, link, places
from tests.absent import devices


def test_places() -> None:
    found = places(devices("tpu-v5p:2x2x4"))
    assert (
        found[0] == Place(0, (0, 0, 0))
        and found[1] == Place(0, (1, 0, 0))
        and found[15] == Place(0, (1, 1, 3))
    )
    assert [place.slice for place in places(devices("tpu-v5e:2x2*2"))] == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("on", "group", "fast", "slow"),
    [
        ("tpu-v5p:2x2x4", (0, 1), 1, 0),  # two neighbours
        ("tpu-v5p:2x2x4", (0, 4, 8, 12), 2, 0),  # a ring that closes
        ("tpu-v5p:2x2x4", (0, 4), 1, 0),  # a part of it does not
        ("tpu-v5p:2x2x4", tuple(range(16)), 4, 0),
        ("tpu-v5e:2x2*2", tuple(range(8)), 0, 4),  # over two slices, four chips at once
        ("h100-sxm:16", tuple(range(8)), 1, 0),
        ("h100-sxm:16", (0, 8), 0, 1),
        ("h100-sxm:16", tuple(range(16)), 0, 8),
    ],
)
def test_bandwidths(on: str, group: tuple[int, ...], fast: int, slow: int) -> None:
    kinds = devices(on)
    inside, between = kinds.hardware.inside, kinds.hardware.between
    assert inside is not None and between is not None
    found = link(group, places(kinds), kinds)
    most = inside.bandwidth if inside.kind == "switch" else float("inf")
    assert found.ways == len(group)
    assert found.bandwidth == (fast * inside.bandwidth or min(most, slow * between.bandwidth))
