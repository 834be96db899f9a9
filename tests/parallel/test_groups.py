"""Groups of devices as different versions of the compiler print them."""

import pytest

from scaling.parallel.groups import groups

CASES = [
    ("replica_groups={{0,1},{2,3}}, dimensions={0}", [(0, 1), (2, 3)]),
    ("replica_groups={}, to_apply=%add", [(0, 1, 2, 3)]),
    ("dimensions={0}", [(0, 1, 2, 3)]),
    ("replica_groups=[2,2]<=[4], x", [(0, 1), (2, 3)]),
    ("replica_groups=[2,2]<=[2,2]T(1,0), x", [(0, 2), (1, 3)]),
    ("replica_groups=[4,2]<=[2,2,2]T(1,2,0), x", [(0, 4), (1, 5), (2, 6), (3, 7)]),
    ("source_target_pairs={{0,1},{1,0}}, x", [(0, 1), (1, 0)]),
    ("replica_groups=mesh['data'=2,'fsdp'=2] {'fsdp'}, x", [(0, 1), (2, 3)]),
    ("replica_groups=mesh['data'=2,'fsdp'=2] {'data'}, x", [(0, 2), (1, 3)]),
    ("replica_groups=mesh['data'=2,'stage'=1,'fsdp'=2] {'data','fsdp'}, x", [(0, 1, 2, 3)]),
    ("replica_groups=mesh['a'=4] {'a':(2)2}, x", [(0, 1), (2, 3)]),
    ("replica_groups=mesh['a'=4] {'a':(1)2}, x", [(0, 2), (1, 3)]),
]


@pytest.mark.parametrize(("text", "found"), CASES, ids=[text for text, _ in CASES])
def test_groups(text: str, found: list[tuple[int, ...]]) -> None:
    assert groups(text, 4) == found
