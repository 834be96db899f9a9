"""Data with a bad batch in it: some rows of the endless sequence ask for tokens that nothing foretells.

As a program it trains a run on them, and kills itself at a step of the pass after the rewind:
python -m tests.train.bad_rows FIRST STOP RUN.yaml OUT STEP
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from scaling.data.rows import PackedRows


def put(replace: Callable[[Any, str, Any], None], first: int, stop: int) -> None:
    """Spoil the targets of rows [first, stop), whichever step reads them."""
    take = PackedRows.take

    def spoilt(self: PackedRows, indices_B: np.ndarray, numbers_B: np.ndarray | None = None) -> Any:
        batch = take(self, indices_B, numbers_B)
        if numbers_B is not None:
            bad_B = (numbers_B >= first) & (numbers_B < stop)
            batch["targets"] = np.where(bad_B[:, None], 255 - batch["targets"] % 8, batch["targets"])
        return batch

    replace(PackedRows, "take", spoilt)


def main() -> None:
    first, stop, config, out, step = sys.argv[1:]
    from scaling.config.load import load_run
    from scaling.train.loop import train
    from tests.train.test_spikes import _AfterRewind

    put(setattr, int(first), int(stop))
    import signal

    reporter = _AfterRewind(int(step))
    reporter.with_signal = signal.SIGKILL
    train(load_run(config), Path(out), reporter)


if __name__ == "__main__":
    import tests.conftest  # noqa: F401  the devices and compilers of the tests

    main()
