"""Training curves: `metrics.jsonl` of each run of a sweep."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scaling.config.record import read_record
from scaling.laws.frontier.training_envelope import smoothed
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]
START = 0.1
SHORTEST = 7  # logged steps in a mean


@dataclass(frozen=True)
class Curve:
    """One trunk (`branch` None) or one cooldown branch of a run; arrays are over logged steps."""

    name: str
    params: float
    branch: int | None
    tokens: Floats
    flops: Floats  # by the chosen counting
    loss: Floats  # training, nats per token

    def after_start(self) -> NDArray[np.bool_]:
        """(T,) which steps come after the first tenth of a trunk, where the initial loss drops."""
        if self.branch is not None:
            return np.ones(len(self.tokens), bool)
        return self.tokens >= START * self.tokens.max()

    def smoothed(self) -> Floats:
        """(T,) loss as a running geometric mean over a tenth of the steps: unbiased on a log axis."""
        return smoothed(self.loss, max(SHORTEST, len(self.loss) // 10))


def read_curves(
    directory: Path,
    params: str = "non_embedding_with_head",
    flops: str = "6nd",
    family: str | None = None,
) -> tuple[Curve, ...]:
    """The curves of a run directory, or of every run in a sweep directory; empty if there are none.

    Args:
        directory: contains `metrics.jsonl` and `record.json`, or directories that do.
        params: the count of parameters that is N.
        flops: "6nd" or "counted".
        family: the family of models to read; None reads all.

    Raises:
        BadInputError: a record, or a line other than the last, is damaged.
    """
    directory = Path(directory)
    homes = [directory, *sorted(p.parent for p in directory.glob("*/metrics.jsonl"))]
    curves: list[Curve] = []
    for home in homes:
        record = read_record(home)
        if record is None or family not in (None, record.family):
            continue
        if not (home / "metrics.jsonl").is_file():
            continue
        n = float(getattr(record.params, params))
        branches: dict[int | None, list[tuple[float, float, float]]] = {}
        for line in read_metrics(home / "metrics.jsonl"):
            values = [line.get(key) for key in ("tokens", "flops", "loss")]
            if all(isinstance(v, int | float) and math.isfinite(v) and v > 0 for v in values):
                branches.setdefault(line.get("branch"), []).append(tuple(map(float, values)))  # type: ignore
        for branch, rows in branches.items():
            tokens, counted, loss = np.array(sorted(rows)).T
            compute = counted if flops == "counted" else 6 * n * tokens
            curves.append(Curve(record.name, n, branch, tokens, compute, loss))
    return tuple(curves)


def read_metrics(path: Path) -> list[dict]:
    """The lines of a `metrics.jsonl`, without a last line that a killed process left incomplete.

    Raises:
        BadInputError: an earlier line is not a JSON object.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from error
    numbered = [(i, line) for i, line in enumerate(lines, 1) if line.strip()]
    out: list[dict] = []
    for i, line in numbered:
        try:
            value = json.loads(line)
        except ValueError as error:
            if i == numbered[-1][0]:
                break
            raise BadInputError(f"{path}, line {i}: not JSON; each line must be one JSON object") from error
        if not isinstance(value, dict):
            raise BadInputError(f"{path}, line {i}: not a JSON object but {type(value).__name__}")
        out.append(value)
    return out
