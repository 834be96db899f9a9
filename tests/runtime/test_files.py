"""What passes is tried again, with waits that double; what does not is raised at once."""

import errno
import os
from pathlib import Path

import pytest

from scaling.runtime.files import may_pass, patiently, replace


class Fails:
    """Raises so many times, then answers."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error, self.calls = times, error, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error
        return "answer"


def test_waits_double(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    action = Fails(6, OSError(errno.EIO, "away"))
    assert patiently(action) == "answer" and action.calls == 7
    assert all(0.25 * 2**i <= wait <= 0.5 * 2**i for i, wait in enumerate(waits)) and len(waits) == 6


def test_the_last_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    action = Fails(9, TimeoutError("away"))
    with pytest.raises(TimeoutError, match="away"):
        patiently(action)
    assert action.calls == 7


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EROFS, "read-only"),
        FileNotFoundError(errno.ENOENT, "gone"),
        FileNotFoundError("gone"),
        PermissionError("no"),
        ValueError("wrong"),
    ],
)
def test_what_does_not_pass_is_raised_at_once(error: Exception) -> None:
    action = Fails(1, error)
    with pytest.raises(type(error)):
        patiently(action)
    assert action.calls == 1


def test_stores_that_answer_by_http() -> None:
    for code, passes in ((503, True), (429, True), (404, False), (401, False)):
        error = RuntimeError("said the store")
        error.code = code  # type: ignore[attr-defined]
        assert may_pass(error) is passes


def test_a_file_is_written_when_a_mounted_bucket_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = os.replace, [OSError(errno.EIO, "away"), OSError(errno.ESTALE, "away")]

    def fails(old: str, new: Path) -> None:
        if left:
            raise left.pop()
        real(old, new)

    monkeypatch.setattr(os, "replace", fails)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    replace(tmp_path / "record.json", b"whole")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("record.json", b"whole")]
