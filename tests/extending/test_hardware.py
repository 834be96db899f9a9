"""A hardware kind is one YAML file."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scaling.cli import app
from tests.extending.package import blocks


def test_a_hardware_kind_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = blocks("A hardware kind", "yaml")
    (tmp_path / "my-gpu.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    command = ["estimate", "gpt2-124m", "--on", "my-gpu.yaml:8", "--tokens", "1e9", "--json"]
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert found["devices"]["kind"] == "my-gpu" and found["devices"]["count"] == 8
    assert found["memory"]["capacity_bytes"] == 96e9 and found["time"]["step_seconds"] > 0
    assert found["cost"]["usd"] is None and found["cost"]["kwh"] > 0
