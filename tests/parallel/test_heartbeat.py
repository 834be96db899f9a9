"""What stands still ends with the exit code that starts it again, and says who hangs."""

import itertools
import json

import pytest

from scaling.parallel import heartbeat
from scaling.parallel.heartbeat import Heartbeat, stall_seconds
from scaling.parallel.processes import TRY_AGAIN
from scaling.runtime.errors import BadInputError


def test_how_long() -> None:
    assert stall_seconds({}) == 1800 and stall_seconds({"SCALING_STALL_SECONDS": "20"}) == 20
    for text in ("0", "-1", "nan", "inf", "soon", ""):
        with pytest.raises(BadInputError, match="SCALING_STALL_SECONDS"):
            stall_seconds({"SCALING_STALL_SECONDS": text})


class Looks:
    """In the place of the thread's event: beats between its looks, as planned, and none after them."""

    def __init__(self, heart: Heartbeat, beats: list[int]) -> None:
        self.heart, self.beats, self.over = heart, beats, False

    def wait(self, seconds: float) -> bool:
        assert seconds == 0.5, "twenty looks in ten seconds"
        for _ in range(self.beats.pop(0) if self.beats else 0):
            self.heart.beat()
        self.looked = getattr(self, "looked", 0) + 1
        return self.over


def test_a_run_that_stands_still_ends(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    heart = Heartbeat(10.0)
    # Nothing counts before the first beat; then nineteen looks without any are borne, twenty are not.
    looks = Looks(heart, [0] * 100 + [1] + [0] * 19 + [3])
    heart._over = looks  # type: ignore[assignment]
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        looks.over = True

    monkeypatch.setattr(heartbeat.os, "_exit", end)
    heart._watch()
    assert codes == [TRY_AGAIN] and looks.looked - 1 == 100 + 1 + 19 + 1 + 20
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "no step for 10 s (SCALING_STALL_SECONDS): a disk or a device" in said


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({1: lambda look: (5, look), 2: lambda look: (5, 3)}, "process 2 is silent"),
        ({1: lambda look: (4, look), 2: lambda look: (5, look)}, "process 1 is behind the others"),
        ({1: lambda look: (5, look), 2: lambda look: (5, look)}, "all processes are at the same step"),
        ({}, "process 0, where the others meet, does not answer"),
    ],
)
def test_who_hangs(others: dict, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count()

    class Store:
        def blocking_key_value_get(self, key: str, milliseconds: int) -> str:
            process = int(key.rpartition("/")[2])
            if not others:
                raise RuntimeError("deadline exceeded")
            said = others[process] if process else lambda look: (5, look)
            return json.dumps(said(next(looks)))

    monkeypatch.setattr(heartbeat, "client", Store)
    monkeypatch.setattr(heartbeat.jax, "process_count", lambda: 3)
    assert Heartbeat(0.02)._blame() == words
