"""What it costs: `models`, `estimate`, `dryrun`, `plan`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from scaling.commands.options import (
    Accumulation,
    BatchTokens,
    Json,
    Length,
    Mesh,
    Optimizer,
    Overrides,
    Price,
    Remat,
    Spot,
    show,
)

Model = Annotated[str, typer.Argument(help="model or run: a name in configs, or a YAML file")]


def models(
    family: Annotated[str | None, typer.Option(help="only models whose names start with this")] = None,
    as_json: Json = False,
) -> None:
    """List the named models with parameters and training FLOPs per token."""
    from scaling.api import costs

    show(costs.models(family), as_json)


def estimate(
    model: Model,
    overrides: Overrides = None,
    on: Annotated[
        str | None, typer.Option(help="devices as KIND:COUNT or KIND:TOPOLOGY, e.g. h100-sxm:64")
    ] = None,
    tokens: Annotated[float | None, typer.Option(help="tokens of the complete run, e.g. 300e9")] = None,
    mesh: Mesh = None,
    remat: Remat = None,
    batch_tokens: BatchTokens = None,
    length: Length = None,
    target_length: Annotated[
        int | None, typer.Option(help="target tokens of an encoder-decoder; default: from its objective")
    ] = None,
    accumulation: Accumulation = None,
    optimizer: Optimizer = None,
    attention: Annotated[
        str, typer.Option(help="attention in model FLOPs: causal (half) or full")
    ] = "causal",
    price: Price = None,
    spot: Spot = False,
    as_json: Json = False,
) -> None:
    """Estimate parameters, FLOPs, memory, time and price, by arithmetic alone."""
    from scaling.api import costs

    result = costs.estimate(
        model,
        overrides,
        on=on,
        tokens=tokens,
        mesh=mesh,
        remat=remat,
        batch_tokens=batch_tokens,
        length=length,
        target_length=target_length,
        accumulation=accumulation,
        optimizer=optimizer,
        attention=attention,
        price=price,
        spot=spot,
    )
    show(result, as_json)


def dryrun(
    model: Model,
    overrides: Overrides = None,
    on: Annotated[str, typer.Option(help="devices as KIND:COUNT or KIND:TOPOLOGY, e.g. tpu-v5p:8x8x8")] = "",
    mesh: Mesh = None,
    remat: Remat = None,
    batch_tokens: BatchTokens = None,
    length: Length = None,
    accumulation: Accumulation = None,
    optimizer: Optimizer = None,
    effort: Annotated[
        str | None,
        typer.Option(help="effort of the TPU compiler: quick (default), or full as in training (minutes)"),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile", help="report where the step's time goes, by kind and source line (full effort)"
        ),
    ] = False,
    figure: Annotated[
        Path | None, typer.Option(help="PNG, SVG or PDF file for a figure of the profile")
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="compile again instead of reading the cache")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compile the real train step for devices you do not have: memory, collectives, whether it fits."""
    from scaling.api import costs

    if figure is not None:
        from scaling.plots.style import check_path

        check_path(figure)
        profile = True
    result = costs.dryrun(
        model,
        overrides,
        on=on,
        mesh=mesh,
        remat=remat,
        batch_tokens=batch_tokens,
        length=length,
        accumulation=accumulation,
        optimizer=optimizer,
        effort=effort,
        profile=profile,
        cache=not no_cache,
    )
    if figure is not None and result.compiled.profile is not None:
        result.figure(figure)
    show(result, as_json)


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
    price: Price = None,
    spot: Spot = False,
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
    from scaling.api import plans

    result = plans.plan(
        on,
        usd=usd,
        flops=flops,
        device_hours=device_hours,
        law=law,
        inference_tokens=inference_tokens,
        vocab_size=vocab_size,
        bytes_per_token=bytes_per_token,
        length=length,
        price=price,
        spot=spot,
        confirm=confirm,
        force=force,
        out=out,
    )
    show(result, as_json)
    if as_json:
        return
    if out is None:
        typer.echo(f"\nAs a run:\n  {result.command} --out run.yaml\n  scaling train run.yaml --dry-run")
    else:
        typer.echo(f"\nWritten to {out}. Next:\n  scaling train {shlex.quote(str(out))} --dry-run")
