"""Where this lab remembers answers that are slow to find again: tokens, compiled steps, this CPU's rates."""

import os
from pathlib import Path


def cache_root() -> Path:
    """`$SCALING_CACHE`, or `scaling` in the user's cache directory."""
    if named := os.environ.get("SCALING_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "scaling"
