"""What a run directory says beside its record: its recipe, and whether a point ends its schedule."""

import json
from pathlib import Path
from typing import Any

import yaml

from scaling.config.record import RunRecord

DECAYED = 0.5  # of the peak: schedules end at a tenth or less, and a trunk before its cooldown at all of it


def recipe_of(run: RunRecord, home: Path | None) -> str:
    """A text that is equal for runs that differ in nothing but name and training seed.

    The resolved config without them; where there is none, what the record knows.
    """
    config: Any = None
    if home is not None and (home / "config.yaml").is_file():
        try:
            config = yaml.safe_load((home / "config.yaml").read_text())
        except (OSError, ValueError, yaml.YAMLError):
            config = None
    if isinstance(config, dict) and isinstance(config.get("train"), dict):
        config = {k: v for k, v in config.items() if k != "name"}
        config["train"] = {k: v for k, v in config["train"].items() if k != "seed"}
        return json.dumps(config, sort_keys=True, default=str)
    known = (run.family, run.objective, run.dataset, run.tokenizer, run.params.total, run.flops_per_token)
    return json.dumps([*known, run.budget_tokens])


def schedule_ends(run: RunRecord, home: Path | None) -> tuple[bool, ...]:
    """For each point, whether the learning rate had come down from its peak at its step.

    True where the directory does not tell: the trainer writes points only at the end of a schedule.
    """
    rates: list[tuple[int, Any, float]] = []
    if home is not None and (home / "metrics.jsonl").is_file():
        for line in (home / "metrics.jsonl").read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
                rates.append((int(row["step"]), row.get("branch"), float(row["learning_rate"])))
            except (ValueError, KeyError, TypeError):
                continue  # a line of an evaluation, or one that a killed process left half written
    return tuple(_decayed(rates, point.step, point.tokens) for point in run.points)


def _decayed(rates: list[tuple[int, Any, float]], step: int, tokens: int) -> bool:
    branch = [(s, r) for s, b, r in rates if b == tokens and s <= step]
    trunk = [(s, r) for s, b, r in rates if b is None and s <= step]
    path = branch or trunk
    peak = max((r for _, r in [*branch, *trunk]), default=0.0)
    # The last line may be logged well before the end; then it tells nothing.
    if not path or peak <= 0 or max(path)[0] < 0.98 * step:
        return True
    return max(path)[1] <= DECAYED * peak
