"""What models cost: `models`, `estimate`, `dryrun`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scaling.api.arguments import (
    Overrides,
    Sizes,
    check_positive,
    config_of,
    devices_named,
    mesh_text,
    overrides_of,
)
from scaling.api.progress import spinner
from scaling.api.results import Result, TableResult, flattened
from scaling.api.text.blocks import Block
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.api.figures import Figure
    from scaling.config.devices import Devices
    from scaling.config.model import ModelConfig
    from scaling.config.record import Compiled
    from scaling.config.run import RunConfig
    from scaling.estimate.estimate import OnDevices

Part = Mapping[str, Any]  # of a JSON document, with its keys


@dataclass(frozen=True, repr=False)
class Models(TableResult):
    """The named models. `to_dict()` is a list with a document per model."""

    documents: Sequence[Part]

    def to_dict(self) -> list[Part]:  # noqa: D102
        return list(self.documents)

    def rows(self) -> list[Part]:  # noqa: D102
        return [flattened(document) for document in self.documents]

    def blocks(self) -> list[Block]:  # noqa: D102
        from scaling.api.text.costs import models_blocks

        return models_blocks(self.documents)


def models(family: str | None = None) -> Models:
    """The named models with parameters and training FLOPs per token.

    Args:
        family: only models whose names start with this, `"gpt3"` for example.

    Returns:
        A table: parameters by convention, layers, width, heads, and training FLOPs per token at the model's
        maximal length (counted matmul by matmul, causal attention).

    Raises:
        BadInputError: no model's name starts with `family`.

    Example:
        >>> scaling.models("gpt3").to_frame()[["model", "params.total", "train_flops_per_token"]]
    """
    from scaling.config.load import load_model, model_names
    from scaling.config.model import network
    from scaling.estimate.counts import count_parameters, train_flops_per_token

    names = [name for name in model_names() if name.startswith(family or "")]
    if not names:
        families = sorted({name.split("-")[0] for name in model_names()})
        raise BadInputError(f"no model is called {family!r}...; families: {', '.join(families)}")
    documents = []
    for config in (network(load_model(name)) for name in names):
        documents.append(
            {
                "model": config.name,
                "family": config.family,
                "n_layers": config.n_layers,
                "d_model": config.d_model,
                "n_heads": getattr(config, "n_heads", None),
                "max_length": config.max_length,
                "params": count_parameters(config).model_dump(),
                "train_flops_per_token": train_flops_per_token(config, config.max_length),
                "attention_convention": "causal",
            }
        )
    return Models(documents)


@dataclass(frozen=True, repr=False)
class Estimate(Result):
    """What a run costs. The fields are those of `scaling estimate --json`; parts that were not requested are
    None. `run` is the config that was priced."""

    run: "RunConfig"
    model: str
    family: str
    params: Part
    flops_per_token: Part
    train: Part | None
    devices: Part | None
    memory: Part | None
    time: Part | None
    cost: Part | None
    would_help: Sequence[str]

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "run"}

    def blocks(self) -> list[Block]:  # noqa: D102
        from scaling.api.text.costs import estimate_blocks

        return estimate_blocks(self.to_dict(), self.run)


def estimate(
    model: "str | Path | Mapping[str, Any] | ModelConfig | RunConfig",
    overrides: Overrides = None,
    *,
    on: str | None = None,
    tokens: float | None = None,
    mesh: Sizes = None,
    remat: str | None = None,
    batch_tokens: int | str | None = None,
    length: int | str | None = None,
    target_length: int | None = None,
    accumulation: int | str | None = None,
    optimizer: str | None = None,
    attention: str = "causal",
    price: float | None = None,
    spot: bool = False,
) -> Estimate:
    """Parameters, FLOPs, memory, time and price of a model or a run, by arithmetic alone.

    Args:
        model: a model or a run: a name in `configs/`, a path to a YAML file, a
            config object, or its fields as a mapping.
        overrides: changes of the config: `{"n_layers": 6}` or `["n_layers=6"]`.
        on: devices as KIND:COUNT or KIND:TOPOLOGY, `"h100-sxm:64"` for example; None counts parameters and
            FLOPs only.
        tokens: training tokens of the complete run, for FLOPs, hours and price.
        mesh: devices per mesh axis, `{"fsdp": 8, "tensor": 2}`; their product is the number of devices.
        remat: rematerialisation: none, dots or full.
        batch_tokens: tokens per step; one sequence per batch shard by default.
        length: tokens per sequence; the model's maximum by default.
        target_length: target tokens of an encoder-decoder; from its objective by default.
        accumulation: microbatches per step.
        optimizer: adamw, adafactor, muon or lion.
        attention: attention in model FLOPs: causal (half) or full.
        price: price per device-hour in USD, instead of the list price.
        spot: use the spot price if one is known.

    Returns:
        The estimate: memory in bytes per device, step time in seconds, training time in hours, price in USD.

    Raises:
        BadInputError: an unknown name or option, or a mesh that does not multiply to the devices.

    Example:
        >>> cost = scaling.estimate("gpt3-13b", on="h100-sxm:64", tokens=300e9, mesh={"fsdp": 8, "tensor": 8})
        >>> cost.memory["total_bytes"], cost.time["train_hours"], cost.cost["usd"]
    """
    from scaling.config.devices import run_for
    from scaling.estimate.estimate import model_part, on_devices, train_part, would_help

    if attention not in ("causal", "full"):
        raise BadInputError(f"--attention {attention!r}: give causal or full")
    check_positive(tokens=tokens, target_length=target_length, price=price)
    devices = devices_named(on) if on is not None else None
    if devices is None and mesh is not None:
        raise BadInputError("--mesh: name the devices too, for example --on tpu-v5p:8x8x8")
    changes = run_changes(overrides, remat, batch_tokens, length, accumulation, optimizer)
    run = run_for(config_of(model), devices, mesh_text(mesh), changes)
    target_length = target_length or run.target_length
    counted: Any = (run.data.sequence_length, target_length, attention)
    train = None if tokens is None else train_part(run.model, tokens, *counted)
    document: dict[str, Any] = model_part(run.model, *counted) | {"train": train}
    document |= {"devices": None, "memory": None, "time": None, "cost": None, "would_help": []}
    if devices is not None:
        kind: Any = "spot" if spot else "on-demand"
        found = on_devices(run, devices, tokens, target_length=target_length, price_kind=kind, price=price)
        document |= found.as_dict(devices)
        if not found.fits:
            document["would_help"] = would_help(run, found.memory.arguments, found.capacity_bytes)
    return Estimate(run, **document)


def run_changes(
    overrides: Overrides,
    remat: str | None,
    batch_tokens: int | str | None,
    length: int | str | None,
    accumulation: int | str | None,
    optimizer: str | None,
) -> list[str]:
    """Overrides, followed by those that the options of a run stand for."""
    return overrides_of(
        overrides,
        model__remat=remat,
        train__batch_tokens=batch_tokens,
        data__sequence_length=length,
        train__accumulation=accumulation,
        train__optimizer=optimizer,
    )


@dataclass(frozen=True, repr=False)
class DryRun(Result):
    """A train step compiled for devices. `compiled` is what the compiler said, `estimated` the estimate of
    the same run, `would_help` what to change when it does not fit."""

    run: "RunConfig"
    devices: "Devices"
    compiled: "Compiled"
    estimated: "OnDevices"
    would_help: Sequence[str]

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        from scaling.estimate.estimate import model_part

        compiled, memory, time = self.compiled, self.estimated.memory, self.estimated.time
        flops = time.hardware_flops / self.devices.count
        return {
            **model_part(self.run.model, self.run.data.sequence_length),
            "train": None,
            **self.estimated.as_dict(self.devices),
            "compiled": compiled.model_dump(mode="json"),
            "estimate_over_compiled": {
                "argument_bytes": memory.arguments / compiled.argument_bytes,
                "peak_bytes": memory.total / compiled.peak_bytes,
                "flops_per_device": flops / compiled.flops_per_device,
                "step_seconds": None
                if compiled.profile is None
                else time.seconds / compiled.profile.step_seconds,
            },
            "would_help": list(self.would_help),
        }

    def blocks(self) -> list[Block]:  # noqa: D102
        from scaling.api.text.costs import compiled_blocks

        devices, memory = self.devices, self.estimated.memory
        blocks = compiled_blocks(
            self.run, str(devices), devices.count, self.compiled, memory, self.would_help
        )
        if self.compiled.profile is not None:
            from scaling.api.text.profile import profile_blocks

            blocks += profile_blocks(self.compiled.profile, self.estimated.time)
        return blocks

    def figure(self, path: "str | Path | None" = None) -> "Figure":
        """Where the step's time goes, as a figure; `path` is a PNG, SVG or PDF file to write it to.

        Raises:
            BadInputError: the step has no profile, or the path is not one that can be written.
        """
        from scaling.api.figures import Figure
        from scaling.api.text.profile import place
        from scaling.plots.profile import profile_figure

        profile = self.compiled.profile
        if profile is None:
            raise BadInputError("figure: the step has no profile; give profile=True")
        title = f"{self.run.model.name} on {self.devices}, {self.run.mesh}"
        drawn = profile_figure(profile, title, [place(line) for line in profile.top])
        figure = Figure(
            "profile", drawn, profile.model_dump(mode="json"), None if path is None else Path(path)
        )
        if path is not None:
            figure.save(path)
        return figure


def dryrun(
    model: "str | Path | Mapping[str, Any] | ModelConfig | RunConfig",
    overrides: Overrides = None,
    *,
    on: str,
    mesh: Sizes = None,
    remat: str | None = None,
    batch_tokens: int | str | None = None,
    length: int | str | None = None,
    accumulation: int | str | None = None,
    optimizer: str | None = None,
    effort: Literal["quick", "full"] | str | None = None,
    profile: bool = False,
    cache: bool = True,
) -> DryRun:
    """Compile the real train step for devices you do not have: memory, collectives, whether it fits.

    Args:
        model: a model or a run: a name in `configs/`, a path to a YAML file, a
            config object, or its fields as a mapping.
        overrides: changes of the config: `{"n_layers": 6}` or `["n_layers=6"]`.
        on: devices as KIND:COUNT or KIND:TOPOLOGY, `"tpu-v5p:8x8x8"` for example.
        mesh: devices per mesh axis, `{"fsdp": 64, "tensor": 8}`.
        remat: rematerialisation: none, dots or full.
        batch_tokens: tokens per step; one sequence per batch shard by default.
        length: tokens per sequence; the model's maximum by default.
        accumulation: microbatches per step.
        optimizer: adamw, adafactor, muon or lion.
        effort: effort of the TPU compiler: quick (the default), or full as in training (minutes).
        profile: report where the step's time goes, by the compiler's cost model; takes full effort.
        cache: read what was compiled before, where there is any.

    Returns:
        What the compiler said (bytes and FLOPs per device), next to the estimate.

    Raises:
        BadInputError: an unknown name or option, or devices that cannot be compiled for here.

    Example:
        >>> step = scaling.dryrun("gpt3-125m", on="tpu-v5e:2x2")
        >>> step.compiled.peak_bytes, step.compiled.fits
    """
    from scaling.config.devices import run_for
    from scaling.estimate.estimate import on_devices
    from scaling.train.compiled_cache import compiled_step

    if not on:
        raise BadInputError("--on: name the devices, for example --on tpu-v5p:8x8x8 or --on h100-sxm:64")
    if effort not in ("quick", "full", None):
        raise BadInputError(f"--effort {effort!r}: give quick or full")
    if profile and effort == "quick":
        raise BadInputError(
            "--effort quick: --profile needs full, as only that program is the one that trains"
        )
    devices = devices_named(on)
    if profile and devices.hardware.platform == "cpu":
        raise BadInputError(
            f"--on {devices}: --profile needs a TPU or a GPU; the CPU's compiler does not estimate time"
        )
    effort = effort or ("full" if profile else "quick")
    changes = run_changes(overrides, remat, batch_tokens, length, accumulation, optimizer)
    run = run_for(config_of(model), devices, mesh_text(mesh), changes)
    with spinner(f"compiling {run.model.name} for {devices}"):
        compiled = compiled_step(run, devices, effort, fresh=not cache)  # type: ignore[arg-type]
    if not profile:
        compiled = compiled.model_copy(update={"profile": None})
    elif compiled.out_of_memory is not None:
        note = "no profile, because the compiler ran out of memory and wrote no program"
        compiled = compiled.model_copy(update={"notes": (*compiled.notes, note)})
    return DryRun(run, devices, compiled, on_devices(run, devices, None), would_help(run, compiled))


def would_help(run: "RunConfig", compiled: "Compiled") -> list[str]:
    """Changes with which a step that does not fit takes less memory; empty where it fits."""
    from scaling.estimate import estimate

    if compiled.fits:
        return []
    return estimate.would_help(run, compiled.argument_bytes, compiled.capacity_bytes)
