"""Help of every command by -h and --help, the bare program, and shell completion."""

import os
import subprocess
import sys

import pytest
import typer

from scaling.cli import app
from tests.commands.conftest import RunCli

GROUPS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
COMMANDS = [*GROUPS, *(f"data {name}" for name in GROUPS["data"].commands)]


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_fits_a_terminal(run_cli: RunCli, command: str, option: str) -> None:
    code, out, err = run_cli(*command.split(), option)
    assert (code, err) == (0, "")
    assert out.startswith("Usage:") and "--help" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("group", ["", "data"])
def test_a_bare_group_prints_its_help(run_cli: RunCli, group: str) -> None:
    bare = run_cli(*group.split())
    assert bare == run_cli(*group.split(), "--help")
    assert bare[0] == 0 and bare[2] == ""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("plt", "Did you mean 'plot'"),
        ("estimate gpt2-small", "did you mean gpt2-124m, gpt2-355m"),
        ("estimate gpt1 --on v5e-256", "did you mean tpu-v5e:256?"),
        ("estimate gpt1 --on v5p-8x8x8", "did you mean tpu-v5p:8x8x8?"),
        ("estimate gpt1 --on h100:8", "did you mean h100-pcie:8 or h100-sxm:8?"),
        ("estimate gpt1 --on a100", "did you mean a100-40gb:COUNT or a100-80gb:COUNT?"),
        ("estimate gpt1 --on h100-sxm:8 --mesh fdsp=8", "did you mean fsdp?"),
        ("plan --usd 10 --on h100-sxm:8 --law chinchila", "did you mean chinchilla?"),
        ("fit a.csv --law chinchila", "did you mean chinchilla?"),
        ("plot loss_vs_compute a.csv --out b.png", "did you mean loss-vs-compute?"),
        ("evaluate . --suite arithmetic", "did you mean gpt3-arithmetic?"),
        ("sweep mup", "did you mean mup-lr?"),
        ("launch demo --on slrum", "did you mean slurm?"),
        ("estimate gpt1 --tokens many", "(see scaling estimate --help)"),
        ("data descrbe", "(see scaling data --help)"),
    ],
)
def test_mistakes_name_what_was_meant(run_cli: RunCli, line: str, says: str) -> None:
    if "a.csv" in line:
        rows = "".join(f"{n},{d},{2 + n**-0.3 + d**-0.3}\n" for n in (1e6, 1e7) for d in (1e8, 1e9, 1e10))
        run_cli("--version")  # moves to the test's own folder
        with open("a.csv", "w") as file:
            file.write("params,tokens,loss\n" + rows)
    code, out, err = run_cli(*line.split())
    assert code == 2 and out == ""
    assert len(err.strip().splitlines()) == 1 and says in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    """The script that a shell is given, and the answer to it; neither imports JAX."""
    program = (
        "import sys; sys.argv = ['scaling', *sys.argv[1:]]\n"
        "from scaling.cli import main\n"
        "try: main()\n"
        "finally: assert not {'jax', 'numpy', 'flax'} & set(sys.modules)"
    )
    run = [sys.executable, "-c", program]
    named = os.environ | {
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"
    }  # else that of the parent process
    script = subprocess.run(
        [*run, "--show-completion", shell], env=named, check=True, capture_output=True, text=True
    )
    assert "_SCALING_COMPLETE" in script.stdout
    asked = {
        **os.environ,
        "_SCALING_COMPLETE": "complete_bash",
        "COMP_WORDS": "scaling est",
        "COMP_CWORD": "1",
    }
    answer = subprocess.run(run, env=asked, capture_output=True, text=True)
    assert answer.stdout.split() == ["estimate"]
