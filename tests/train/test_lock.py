"""One process trains in a directory: on one machine by flock, on several by the owner's count."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scaling.runtime.errors import BadInputError
from scaling.train import lock
from scaling.train.lock import NAME, RunLock, is_locked

BEAT = 0.3


def test_it_is_held_and_let_go(tmp_path: Path) -> None:
    first = RunLock(tmp_path, BEAT)
    first.acquire()
    assert is_locked(tmp_path)
    with pytest.raises(BadInputError, match=rf"another process .*process {os.getpid()} on .*; wait for it"):
        RunLock(tmp_path, BEAT).acquire()
    first.release()
    assert not is_locked(tmp_path) and (tmp_path / NAME).read_text() == ""
    RunLock(tmp_path, BEAT).acquire()


def test_it_is_free_when_its_owner_was_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from scaling.train.lock import RunLock\n"
        "RunLock(Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert owner.stdout is not None and owner.stdout.readline() == b"held\n" and is_locked(tmp_path)
    owner.kill()
    owner.communicate()
    assert not is_locked(tmp_path)
    RunLock(tmp_path).acquire()  # with the beat of ten seconds: on one machine nothing is waited for


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount that keeps locks to itself."""
    monkeypatch.setattr(fcntl, "flock", lambda file, how: None)


def on_host(name: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> RunLock:
    monkeypatch.setattr("socket.gethostname", lambda: name)
    return RunLock(directory, BEAT)


@pytest.mark.usefixtures("no_flock")
def test_another_machine_sees_the_owner_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = on_host("one", tmp_path, monkeypatch)
    first.acquire()
    with pytest.raises(BadInputError, match=r"another process .* on one\)"):
        on_host("two", tmp_path, monkeypatch).acquire()
    first.release()
    second = on_host("two", tmp_path, monkeypatch)
    second.acquire()
    assert json.loads((tmp_path / NAME).read_text())["host"] == "two"
    second.release()


@pytest.mark.usefixtures("no_flock")
def test_another_machine_sees_the_owner_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the one that was only away ends when it comes back."""
    first = on_host("one", tmp_path, monkeypatch)
    first.acquire()
    first._over.set()  # away: it counts no more
    first._thread.join()
    second = on_host("two", tmp_path, monkeypatch)
    second.acquire()

    class EndedError(Exception):
        pass

    def end(code: int) -> None:
        assert code == 2
        raise EndedError

    monkeypatch.setattr(lock.os, "_exit", end)
    first._over.clear()
    with pytest.raises(EndedError):
        first._live()
    second.release()


def test_looking_does_not_lock_anyone_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger's look holds the lock for an instant."""
    real, looks = fcntl.flock, [1, 1]

    def busy(file: object, how: int) -> None:
        if looks:
            looks.pop()
            raise BlockingIOError
        real(file, how)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", busy)
    one = RunLock(tmp_path)
    one.acquire()
    one.release()
    assert not looks
