"""What C++ writes to file descriptor 2 stays off the terminal, and can be read."""

import os
import sys

import pytest

from scaling.parallel.absent import captured_noise


def test_what_is_written_past_python_is_captured(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before\n")
    with captured_noise() as noise:
        os.write(2, b"one\n\ntwo\n")
        print("three", file=sys.__stderr__, flush=True)
        assert noise.last_lines(2) == ["two", "three"]
        os.write(2, b"four\xff\n")
        assert noise.last_lines(1) == ["four\ufffd"]
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "before\nafter\n"


def test_the_descriptor_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        with captured_noise():
            os.write(2, b"lost\n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    os.write(2, b"seen\n")
    assert capfd.readouterr().err == "seen\n"
