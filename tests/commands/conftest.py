"""The command line in this process."""

from tests.end_to_end.conftest import RunCli, run_cli

__all__ = ["RunCli", "run_cli"]
