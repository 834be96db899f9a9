"""What it costs: `models`, `estimate`."""

from typing import Annotated, Any

import typer

from scaling.commands.options import (
    Accumulation,
    BatchTokens,
    Json,
    Length,
    Mesh,
    Optimizer,
    Overrides,
    Remat,
    as_overrides,
    devices_named,
    print_json,
)
from scaling.runtime.errors import BadInputError


def models(
    family: Annotated[str | None, typer.Option(help="only models whose names start with this")] = None,
    as_json: Json = False,
) -> None:
    """List the named models with parameters and training FLOPs per token."""
    from scaling.config.load import load_model, model_names
    from scaling.config.model import network
    from scaling.estimate.counts import count_parameters, train_flops_per_token

    names = [name for name in model_names() if name.startswith(family or "")]
    if not names:
        families = sorted({name.split("-")[0] for name in model_names()})
        raise BadInputError(f"no model is called {family!r}...; families: {', '.join(families)}")
    rows: list[dict[str, Any]] = []
    for name in names:
        config = network(load_model(name))
        counts = count_parameters(config)
        rows.append(
            {
                "model": name,
                "family": config.family,
                "n_layers": config.n_layers,
                "d_model": config.d_model,
                "n_heads": getattr(config, "n_heads", None),
                "max_length": config.max_length,
                "params": counts.model_dump(),
                "train_flops_per_token": train_flops_per_token(config, config.max_length),
                "attention_convention": "causal",
            }
        )
    if as_json:
        print_json(rows)
        return
    from scaling.tables import show, show_text, table

    cells = [
        (
            row["model"],
            f"{row['params']['total']:,}",
            f"{row['params']['non_embedding']:,}",
            str(row["n_layers"]),
            str(row["d_model"]),
            str(row["n_heads"] or "-"),
            f"{row['train_flops_per_token']:.2e}",
        )
        for row in rows
    ]
    columns = ("model", "parameters", "without embeddings", "layers", "width", "heads", "FLOPs/token")
    show(table("", columns, cells))
    show_text("Training FLOPs per token at the model's full length, matmul by matmul, causal attention.")


def estimate(
    model: Annotated[str, typer.Argument(help="model or run: a name in configs, or a YAML file")],
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
    price: Annotated[
        float | None, typer.Option(help="price per device-hour in USD, instead of the list price")
    ] = None,
    spot: Annotated[bool, typer.Option("--spot", help="use the spot price if one is known")] = False,
    as_json: Json = False,
) -> None:
    """Estimate parameters, FLOPs, memory, time and price, by arithmetic alone."""
    from scaling.config.devices import run_for
    from scaling.estimate.estimate import model_part, on_devices, train_part, would_help

    if attention not in ("causal", "full"):
        raise BadInputError(f"--attention {attention!r}: give causal or full")
    for option, value in (("--tokens", tokens), ("--target-length", target_length), ("--price", price)):
        if value is not None and not 0 < value < float("inf"):
            raise BadInputError(f"{option} {value:g}: give a positive number")
    devices = devices_named(on) if on is not None else None
    if devices is None and mesh is not None:
        raise BadInputError("--mesh: name the devices too, for example --on tpu-v5p:8x8x8")
    changes = as_overrides(overrides, remat, batch_tokens, length, accumulation, optimizer)
    run = run_for(model, devices, mesh, changes)
    target_length = target_length or run.target_length
    counted: Any = (run.data.sequence_length, target_length, attention)
    document: dict[str, Any] = model_part(run.model, *counted)
    document["train"] = None if tokens is None else train_part(run.model, tokens, *counted)
    document |= {"devices": None, "memory": None, "time": None, "cost": None, "would_help": []}
    if devices is not None:
        found = on_devices(
            run,
            devices,
            tokens,
            target_length=target_length,
            price_kind="spot" if spot else "on-demand",
            price=price,
        )
        document |= found.as_dict(devices)
        if not found.fits:
            document["would_help"] = would_help(run, found.memory.arguments, found.capacity_bytes)
    if as_json:
        print_json(document)
    else:
        from scaling.commands.estimate_text import estimate_text

        typer.echo(estimate_text(document, run))
