"""What a run directory says beside its record: its recipe, and whether a point ends its schedule."""

import json
import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from scaling.config.record import Point, RunRecord, TokenizerInfo
from scaling.runtime.errors import BadInputError
from scaling.runtime.yaml_files import parse_yaml

DECAYED = 0.5  # of the peak: schedules end at a tenth or less, and a trunk before its cooldown at all of it


def recipe_of(run: RunRecord, home: Path | None) -> str:
    """A text that is equal for runs that differ in nothing but name and training seed.

    The resolved config without them; where there is none, what the record knows.
    """
    config = _config(home)
    if isinstance(config, dict) and isinstance(config.get("train"), dict):
        config = {k: v for k, v in config.items() if k != "name"}
        config["train"] = {k: v for k, v in config["train"].items() if k != "seed"}
        return json.dumps(config, sort_keys=True, default=str)
    known = (run.family, run.objective, run.dataset, run.tokenizer, run.params.total, run.flops_per_token)
    return json.dumps([*known, run.budget_tokens])


def _config(home: Path | None) -> Any:
    """The resolved config of a run directory; None where there is none that can be read."""
    if home is None or not (path := home / "config.yaml").is_file():
        return None
    try:
        return _parsed(path.read_text())
    except (OSError, ValueError, BadInputError):
        return None


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    """A config's text; the same runs are read once for each way to count."""
    return parse_yaml(text, "config.yaml")


def facts_of(run: RunRecord, home: Path | None) -> dict[str, str]:
    """What rows of a directory are selected by: facts of the record, and every value of its config by path.

    A value is written as in YAML or, of a list, as in JSON: {"dataset": "stdlib", "model.n_layers": "6"}.
    """
    config = _config(home)
    facts = dict(_leaves(config, "")) if isinstance(config, dict) else {}
    known = {
        "name": run.name,
        "family": run.family,
        "objective": run.objective,
        "status": run.status,
        "dataset": run.dataset,
        "tokenizer": run.tokenizer,
        "vocab_size": run.vocab_size if run.vocab_size is not None else facts.get("model.vocab_size"),
        "seed": run.seed,
    }
    return {name: str(value) for name, value in known.items() if value is not None} | facts


def _leaves(config: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif value is not None and (prefix or key != "name"):
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


def tokenizer_of(run: RunRecord, point: Point, home: Path | None) -> TokenizerInfo | None:
    """What a token of a run's losses is; bytes per token follow from its loss in both units.

    `home` is the run's directory, whose `files.json` identifies the tokenizer by its content.
    """
    if run.tokenizer is None:
        return None
    bits = point.bits_per_byte
    return TokenizerInfo(
        name=run.tokenizer,
        hash=None if home is None else _tokenizer_identity(home),
        vocab_size=run.vocab_size,
        bytes_per_token=point.loss / math.log(2) / bits if bits else None,
    )


def _tokenizer_identity(home: Path) -> str | None:
    try:
        identity = json.loads((home / "files.json").read_bytes())["tokenizer"]["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a run of an earlier version, or one without a tokenizer file
    return identity if isinstance(identity, str) else None


def bytes_per_token(run: RunRecord) -> float | None:
    """UTF-8 bytes of text per predicted token of a run's validation set, from its last losses."""
    if not run.validation_loss or not run.bits_per_byte:
        return None
    return run.validation_loss / math.log(2) / run.bits_per_byte


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
