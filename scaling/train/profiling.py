"""A trace of some steps, for Perfetto and XProf: what the device and the host did when."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import jax

from scaling.config.train import ProfileConfig

NAME = "profile"


class ProfileWindow:
    """Traces the steps of a window into a directory: `plugins/profile/TIME/` there is XProf's, and its
    `*.trace.json.gz` opens in Perfetto. A run that starts inside the window traces what is left of it."""

    def __init__(self, config: ProfileConfig, directory: Path) -> None:
        self._window = config.window
        self._directory = directory / NAME
        self._running = False

    def step(self, step: int) -> AbstractContextManager[object]:
        """Around the dispatch of a step (they count from 1): starts the trace, and names the step in it."""
        if self._window is None or not self._window[0] <= step < self._window[1]:
            return nullcontext()
        if not self._running:
            jax.profiler.start_trace(self._directory)
            self._running = True
        return jax.profiler.StepTraceAnnotation("train", step_num=step)

    def last(self, step: int) -> bool:
        """Whether the step ends the trace, and so is to be waited for."""
        return self._running and self._window is not None and step + 1 >= self._window[1]

    def close(self) -> None:
        """End the trace, if one is running; a window is traced once."""
        if self._running:
            self._running, self._window = False, None
            jax.profiler.stop_trace()
