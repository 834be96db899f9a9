"""What to train: `plan`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling.commands.options import Json, devices_named, print_json
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.config.record import Compiled
    from scaling.config.run import RunConfig
    from scaling.estimate.layouts import Candidate
    from scaling.estimate.planner import Inference, PlannedRun, Planner

_COMPILED = 3  # layouts that --confirm compiles
_MOST_COMPILED = 6  # where none of those fits


def plan(
    on: Annotated[str, typer.Option(help="devices as KIND:COUNT or KIND:TOPOLOGY, e.g. tpu-v5e:16x16")] = "",
    usd: Annotated[float | None, typer.Option(help="budget in US dollars")] = None,
    flops: Annotated[float | None, typer.Option(help="budget in training FLOPs, e.g. 1e21")] = None,
    device_hours: Annotated[float | None, typer.Option(help="budget in device-hours")] = None,
    law: Annotated[
        str, typer.Option(help="law: chinchilla, chinchilla-replication, or a path to law.json")
    ] = "chinchilla",
    inference_tokens: Annotated[
        float | None,
        typer.Option(help="tokens the model will serve; favours a smaller model, trained longer"),
    ] = None,
    vocab_size: Annotated[
        int | None, typer.Option(help="vocabulary size; default: that of the law's tokenizer")
    ] = None,
    bytes_per_token: Annotated[
        float | None, typer.Option(help="bytes per token of your tokenizer, to convert a law of another one")
    ] = None,
    length: Annotated[int, typer.Option(help="tokens per sequence")] = 2048,
    price: Annotated[
        float | None, typer.Option(help="price per device-hour in USD, instead of the list price")
    ] = None,
    spot: Annotated[bool, typer.Option("--spot", help="use the spot price if one is known")] = False,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="compile the best layouts and use the compiler's memory")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="apply a law of another tokenizer unconverted, and mark the result"),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="YAML file to write the run to, for scaling train")] = None,
    as_json: Json = False,
) -> None:
    """Plan what to train for a budget: size, tokens, layout, time, price and expected loss."""
    from scaling.estimate.alternatives import rejected, too_large_for_devices
    from scaling.estimate.loss_law import find_law, for_model
    from scaling.estimate.planner import Planner, more_room
    from scaling.estimate.price import make_budget
    from scaling.estimate.shapes import padded_vocabulary

    for option, value in (
        ("--price", price),
        ("--inference-tokens", inference_tokens),
        ("--bytes-per-token", bytes_per_token),
    ):
        if value is not None and not 0 < value <= 1e40:
            raise BadInputError(f"{option} {value:g}: give a positive number")
    for option, whole, least, most in (
        ("--vocab-size", vocab_size, 2, 10_000_000),
        ("--length", length, 16, 1_048_576),
    ):
        if whole is not None and not least <= whole <= most:
            raise BadInputError(f"{option} {whole}: give a number from {least} to {most:,}")
    if not on:
        raise BadInputError("--on: name the devices, for example --on tpu-v5e:16x16 or --on h100-sxm:64")
    devices = devices_named(on)
    kind = "spot" if spot else "on-demand"
    budget = make_budget(
        devices,
        usd=usd,
        flops=flops,
        device_hours=device_hours,
        price_kind=kind,  # type: ignore[arg-type]
        price=price,
    )
    travelled = for_model(find_law(law), vocab_size, bytes_per_token, force)
    planner = Planner(budget, travelled.law, devices, padded_vocabulary(travelled.vocab_size), length)
    point, sizes = planner.best()
    inference = None
    if inference_tokens is not None:
        point, inference = planner.serving(point, inference_tokens)
    layouts = planner.layouts(point)
    confirmed = None
    if confirm:
        point, confirmed = _confirmed(planner, point, layouts)
    run = planner.run(point)
    options = {
        "usd": usd,
        "flops": flops,
        "device-hours": device_hours,
        "inference-tokens": inference_tokens,
        "vocab-size": vocab_size,
        "bytes-per-token": bytes_per_token,
        "length": None if length == 2048 else length,
        "price": price,
    }
    asked = [f"--{name} {_shortest(value)}" for name, value in options.items() if value is not None]
    flags = [flag for flag, given in (("--spot", spot), ("--confirm", confirm), ("--force", force)) if given]
    command = " ".join(["scaling plan", *asked, f"--on {devices} --law {shlex.quote(law)}", *flags])
    alternatives = [one.as_dict() for one in rejected(point, layouts, sizes, inference)]
    document = _document(planner, point, run, inference, kind, price)
    document |= {"alternatives": alternatives, "confirmed": confirmed}
    document["loss"] |= {"notes": travelled.notes, "vocab_size": travelled.vocab_size}
    larger = too_large_for_devices(point, sizes)
    document["would_help"] = [] if larger is None else more_room(devices, length)
    from scaling.commands.plan_text import plan_text, run_yaml

    if out is not None:
        from scaling.runtime.files import write_atomically

        write_atomically(out, run_yaml(document, run, command, out).encode())
    if as_json:
        print_json(document | {"out": None if out is None else str(out)})
        return
    typer.echo(plan_text(document, run))
    if out is None:
        typer.echo(f"\nAs a run:\n  {command} --out run.yaml\n  scaling train run.yaml --dry-run")
    else:
        typer.echo(f"\nWritten to {out}. Next:\n  scaling train {shlex.quote(str(out))} --dry-run")


def _shortest(value: float) -> str:
    """1e12 as 1e+12, 20000 as 20000, without a loss of digits."""
    return f"{value:g}" if float(f"{value:g}") == value else f"{value:.15g}"


def _confirmed(
    planner: "Planner", point: "PlannedRun", layouts: "list[Candidate]"
) -> "tuple[PlannedRun, list[dict[str, Any]]]":
    """The fastest layout that fits by the compiler, and what the compiler said of each that was tried."""
    from scaling.commands.dryrun import waiting
    from scaling.train.compiled_cache import compiled_step

    tried: list[tuple[PlannedRun, Compiled]] = []
    for candidate in shortlist(layouts):
        if len(tried) >= _COMPILED and any(compiled.fits for _, compiled in tried):
            break
        other = planner.on_layout(point, candidate)
        with waiting(f"compiling {candidate} for {planner.devices}"):
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
    return chosen, [_said(other, compiled, other is chosen) for other, compiled in tried]


def shortlist(layouts: "list[Candidate]") -> "list[Candidate]":
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


def _said(point: "PlannedRun", compiled: "Compiled", chosen: bool) -> dict[str, Any]:
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
    kind: str,
    price: float | None,
) -> dict[str, Any]:
    from scaling.estimate.estimate import model_part, on_devices, train_part
    from scaling.estimate.shapes import BATCH_RULE, RATE_RULE

    law, devices = planner.law, planner.devices
    found = on_devices(run, devices, point.tokens, price_kind=kind, price=price)  # type: ignore[arg-type]
    parts, trained = (
        model_part(run.model, planner.length),
        train_part(run.model, point.tokens, planner.length),
    )
    interval, meaning = law.interval(point.params, point.tokens)
    far = law.reach(point.params, point.tokens)
    served = None
    if inference is not None:
        alone = inference.training_only
        served = {
            "tokens": inference.tokens,
            "flops": inference.flops,
            "definition": (
                "trained for the whole budget, the size with the least FLOPs of training and inference "
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
                "params": inference.same_loss.params,
                "tokens": inference.same_loss.tokens,
                "train_flops": inference.same_loss.train_flops,
                "total_flops": inference.same_loss.total_flops,
            },
            "total_flops": inference.flops + inference.train_flops,
            "saved": inference.saved,
        }
    return {
        "budget": {"kind": planner.budget.kind, "value": planner.budget.value},
        "law": law.model_dump(mode="json", exclude={"draws"}),
        "model": run.model.model_dump(mode="json"),
        "params": parts["params"],
        "tokens": point.tokens,
        "steps": point.steps,
        "tokens_per_param": point.tokens / point.params,
        "flops": trained["flops"],
        "flops_6nd": trained["flops_6nd"],
        "flops_per_token": parts["flops_per_token"],
        "run": run.model_dump(mode="json"),
        **found.as_dict(devices),
        "loss": {
            "predicted": law.loss(point.params, point.tokens),
            "unit": law.unit,
            "interval": interval,
            "interval_means": meaning,
            "law": law.name,
            "params": point.params,
            "extrapolation": None if far is None else far.text,
            "reach": None if far is None else far.model_dump(mode="json"),
        },
        "inference": served,
        "rules": {"batch": BATCH_RULE, "learning_rate": RATE_RULE},
    }
