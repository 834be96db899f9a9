"""What to train for a budget: `plan`."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.api.arguments import check_positive, devices_named
from scaling.api.progress import spinner
from scaling.api.results import Result
from scaling.api.text.blocks import Block
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.config.record import Compiled
    from scaling.config.run import RunConfig
    from scaling.estimate.layouts import Candidate
    from scaling.estimate.planner import Inference, PlannedRun, Planner

_COMPILED = 3  # layouts that `confirm` compiles
_MOST_COMPILED = 6  # when none of those fits
_LENGTH = 2048


@dataclass(frozen=True, repr=False)
class Plan(Result):
    """What to train for a budget. `run` is the run's config, `document` all of `scaling plan --json`."""

    run: "RunConfig"
    document: Mapping[str, Any]
    command: str

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        return dict(self.document)

    @property
    def params(self) -> int:
        """Parameters, embeddings included."""
        return self.document["params"]["total"]

    @property
    def tokens(self) -> int:
        """Training tokens."""
        return self.document["tokens"]

    @property
    def loss(self) -> Mapping[str, Any]:
        """The expected loss: `predicted`, its `interval` and `unit`, and the distance from the law's data."""
        return self.document["loss"]

    @property
    def time(self) -> Mapping[str, Any]:
        """Step time in seconds and training time in hours, with intervals; MFU; what bounds the step."""
        return self.document["time"]

    @property
    def cost(self) -> Mapping[str, Any] | None:
        """Device-hours and price in USD; None when the plan fits no device."""
        return self.document["cost"]

    def blocks(self) -> list[Block]:  # noqa: D102
        from scaling.api.text.plans import plan_blocks

        return plan_blocks(self.document, self.run)

    def write(self, path: Path | str) -> None:
        """Write the run as YAML, for `scaling train`."""
        from scaling.api.text.plans import run_yaml
        from scaling.runtime.files import write_atomically

        write_atomically(Path(path), run_yaml(self.document, self.run, self.command, Path(path)).encode())


def plan(
    on: str,
    *,
    usd: float | None = None,
    flops: float | None = None,
    device_hours: float | None = None,
    law: str | Path = "chinchilla",
    inference_tokens: float | None = None,
    vocab_size: int | None = None,
    bytes_per_token: float | None = None,
    length: int = _LENGTH,
    price: float | None = None,
    spot: bool = False,
    confirm: bool = False,
    force: bool = False,
    out: str | Path | None = None,
) -> Plan:
    """Plan what to train for a budget: size, tokens, layout, time, price and expected loss.

    Args:
        on: devices as KIND:COUNT or KIND:TOPOLOGY, `"tpu-v5e:16x16"` for example.
        usd: budget in US dollars. Give one of `usd`, `flops` and `device_hours`.
        flops: budget in training FLOPs.
        device_hours: budget in device-hours.
        law: chinchilla, chinchilla-replication, or a path to a law.json.
        inference_tokens: tokens the model will serve; favours a smaller model, trained longer.
        vocab_size: vocabulary size; that of the law's tokenizer by default.
        bytes_per_token: bytes per token of your tokenizer, to convert a law of another one.
        length: tokens per sequence.
        price: price per device-hour in USD, instead of the list price.
        spot: use the spot price if one is known.
        confirm: compile the best layouts and use the compiler's memory.
        force: apply a law of another tokenizer unconverted, and mark the result.
        out: YAML file to write the run to.

    Returns:
        The plan. `plan.run` is a run config, ready to train.

    Raises:
        BadInputError: no budget or several, an unknown device or law, or a budget that nothing fits.

    Example:
        >>> plan = scaling.plan("h100-sxm:64", usd=5000)
        >>> plan.params, plan.tokens, plan.loss["predicted"], plan.loss["interval"]
    """
    from scaling.estimate.alternatives import rejected, too_large_for_devices
    from scaling.estimate.loss_law import find_law, for_model
    from scaling.estimate.planner import Planner, more_room
    from scaling.estimate.price import make_budget
    from scaling.estimate.shapes import padded_vocabulary

    check_positive(most=1e40, price=price, inference_tokens=inference_tokens, bytes_per_token=bytes_per_token)
    for option, number, least, most in (
        ("--vocab-size", vocab_size, 2, 10_000_000),
        ("--length", length, 16, 1_048_576),
    ):
        if number is not None and not least <= number <= most:
            raise BadInputError(f"{option} {number}: give a number from {least} to {most:,}")
    if not on:
        raise BadInputError("--on: name the devices, for example --on tpu-v5e:16x16 or --on h100-sxm:64")
    devices = devices_named(on)
    kind: Any = "spot" if spot else "on-demand"
    budget = make_budget(
        devices, usd=usd, flops=flops, device_hours=device_hours, price_kind=kind, price=price
    )
    applied = for_model(find_law(str(law)), vocab_size, bytes_per_token, force)
    planner = Planner(budget, applied.law, devices, padded_vocabulary(applied.vocab_size), length)
    point, sizes = planner.best()
    inference = None
    if inference_tokens is not None:
        point, inference = planner.serving(point, inference_tokens)
    layouts = planner.layouts(point)
    confirmed = None
    if confirm:
        point, confirmed = _confirmed(planner, point, layouts)
    run = planner.run(point)
    document = _document(planner, point, run, inference, kind, price)
    document["loss"] |= {"notes": applied.notes, "vocab_size": applied.vocab_size}
    larger = too_large_for_devices(point, sizes)
    document |= {
        "alternatives": [one.as_dict() for one in rejected(point, layouts, sizes, inference)],
        "confirmed": confirmed,
        "would_help": [] if larger is None else more_room(devices, length),
        "out": None if out is None else str(out),
    }
    options = {
        "usd": usd,
        "flops": flops,
        "device-hours": device_hours,
        "inference-tokens": inference_tokens,
        "vocab-size": vocab_size,
        "bytes-per-token": bytes_per_token,
        "length": None if length == _LENGTH else length,
        "price": price,
    }
    given = [f"--{name} {_shortest(value)}" for name, value in options.items() if value is not None]
    flags = [name for name, on in (("--spot", spot), ("--confirm", confirm), ("--force", force)) if on]
    command = " ".join(["scaling plan", *given, f"--on {devices} --law {shlex.quote(str(law))}", *flags])
    result = Plan(run, document, command)
    if out is not None:
        result.write(out)
    return result


def _shortest(value: float) -> str:
    """1e12 as 1e+12, 20000 as 20000, without a loss of digits."""
    return f"{value:g}" if float(f"{value:g}") == value else f"{value:.15g}"


def _confirmed(
    planner: "Planner", point: "PlannedRun", layouts: "list[Candidate]"
) -> "tuple[PlannedRun, list[dict[str, Any]]]":
    """The fastest layout that fits by the compiler, and what the compiler said of each that was tried."""
    from scaling.train.compiled_cache import compiled_step

    tried: list[tuple[PlannedRun, Compiled]] = []
    for candidate in shortlist(layouts):
        if len(tried) >= _COMPILED and any(compiled.fits for _, compiled in tried):
            break
        other = planner.on_layout(point, candidate)
        with spinner(f"compiling {candidate} for {planner.devices}"):
            tried.append((other, compiled_step(planner.run(other), planner.devices, "quick")))
    fitting = [other for other, compiled in tried if compiled.fits]
    if not fitting:
        _, least = min(tried, key=lambda one: one[1].peak_bytes)
        raise BadInputError(
            f"--confirm: by the compiler none of {len(tried)} layouts of {point.params:,} parameters fits "
            f"{planner.devices}: the least takes {least.peak_bytes / 2**30:.2f} of "
            f"{least.capacity_bytes / 2**30:.2f} GiB; give more devices, or a smaller budget"
        )
    chosen = min(fitting, key=lambda other: other.candidate.time.seconds)  # type: ignore[union-attr]
    return chosen, [_compiled(other, compiled, other is chosen) for other, compiled in tried]


def shortlist(layouts: "Sequence[Candidate]") -> "list[Candidate]":
    """Layouts to compile: the fastest that fits, then the fastest that take ever less memory, then others.

    A layout that needs as much as one that the compiler refuses would be refused with it.
    """
    fitting = [one for one in layouts if one.fits]
    chosen = fitting[:1]
    for one in fitting[1:]:
        if one.memory.total < 0.95 * chosen[-1].memory.total:
            chosen.append(one)
    chosen += [one for one in fitting if one not in chosen]
    return chosen[:_MOST_COMPILED]


def _compiled(point: "PlannedRun", compiled: "Compiled", chosen: bool) -> dict[str, Any]:
    candidate = point.candidate
    assert candidate is not None
    return {
        "mesh": candidate.mesh.sizes(),
        "remat": candidate.remat,
        "accumulation": candidate.layout.accumulation,
        "step_seconds": candidate.time.seconds,
        "estimated_bytes": candidate.memory.total,
        "compiled_bytes": compiled.peak_bytes,
        "capacity_bytes": compiled.capacity_bytes,
        "fits": compiled.fits,
        "compile_seconds": compiled.compile_seconds,
        "effort": compiled.effort,
        "chosen": chosen,
    }


def _document(
    planner: "Planner",
    point: "PlannedRun",
    run: "RunConfig",
    inference: "Inference | None",
    kind: Any,
    price: float | None,
) -> dict[str, Any]:
    from scaling.estimate.estimate import model_part, on_devices, train_part
    from scaling.estimate.shapes import BATCH_RULE, RATE_RULE

    law, devices, length = planner.law, planner.devices, planner.length
    found = on_devices(run, devices, point.tokens, price_kind=kind, price=price)
    counted, trained = model_part(run.model, length), train_part(run.model, point.tokens, length)
    interval, meaning = law.interval(point.params, point.tokens)
    wide, widening = law.widened(point.params, point.tokens)
    far = law.reach(point.params, point.tokens)
    return {
        "budget": {"kind": planner.budget.kind, "value": planner.budget.value},
        "law": law.model_dump(mode="json", exclude={"draws"}),
        "model": run.model.model_dump(mode="json"),
        "params": counted["params"],
        "tokens": point.tokens,
        "steps": point.steps,
        "tokens_per_param": point.tokens / point.params,
        "flops": trained["flops"],
        "flops_6nd": trained["flops_6nd"],
        "flops_per_token": counted["flops_per_token"],
        "run": run.model_dump(mode="json"),
        **found.as_dict(devices),
        "loss": {
            "predicted": law.loss(point.params, point.tokens),
            "unit": law.unit,
            "interval": interval,
            "interval_means": meaning,
            "widened": wide,
            "widening": widening,
            "law": law.name,
            "params": point.params,
            "extrapolation": None if far is None else far.text,
            "reach": None if far is None else far.model_dump(mode="json"),
        },
        "inference": None if inference is None else _inference(planner, inference),
        "rules": {"batch": BATCH_RULE, "learning_rate": RATE_RULE},
    }


def _inference(planner: "Planner", inference: "Inference") -> dict[str, Any]:
    """What serving adds, next to the plan for training alone and to the same loss at its optimal size."""
    alone, same = inference.training_only, inference.same_loss
    return {
        "tokens": inference.tokens,
        "flops": inference.flops,
        "definition": (
            "trained for the full budget, the size with the least FLOPs of training and inference "
            "together at its loss (Sardana et al. 2024, arXiv:2401.00448, equation 3)"
        ),
        "budget_alone": {
            "params": alone.params,
            "tokens": alone.tokens,
            "loss": alone.loss,
            "train_flops": alone.tokens * planner.flops_per_token(alone.shape),
            "total_flops": inference.training_only_flops,
        },
        "same_loss": {
            "params": same.params,
            "tokens": same.tokens,
            "train_flops": same.train_flops,
            "total_flops": same.total_flops,
        },
        "total_flops": inference.flops + inference.train_flops,
        "saved": inference.saved,
    }
