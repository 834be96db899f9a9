"""Prepared corpora: `data prepare`, `data join`, `data verify`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling.commands.options import DryRun, Json, print_json
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.data.store.manifest import Manifest

Folder = Annotated[Path, typer.Argument(help="directory of a prepared corpus")]


def prepare(
    source: Annotated[str, typer.Argument(help="corpus, as data.source: jsonl:GLOB, text:GLOB, ...")],
    out: Annotated[Path, typer.Option(help="directory to write the shards to")],
    tokenizer: Annotated[str, typer.Option(help="tokenizer, as data.tokenizer")] = "bytes",
    field: Annotated[str, typer.Option(help="field, column or feature that holds the text")] = "text",
    workers: Annotated[int, typer.Option(help="processes")] = 1,
    shard: Annotated[
        str | None, typer.Option(help="make part I of N, as one of N jobs: I/N, from 1/N to N/N")
    ] = None,
    validation_fraction: Annotated[float, typer.Option(help="share of documents held out")] = 0.05,
    max_documents: Annotated[int | None, typer.Option(help="read only so many documents")] = None,
    on_error: Annotated[str, typer.Option(help="a malformed record: stop, or skip it and count it")] = "stop",
    data_dir: Annotated[str | None, typer.Option(help="directory of TFDS's prepared datasets")] = None,
    on: Annotated[str, typer.Option(help="submit to an engine instead: slurm or skypilot")] = "",
    shards: Annotated[int, typer.Option(help="--on: number of jobs")] = 1,
    within: Annotated[float, typer.Option(help="--on slurm: time limit of a job in hours")] = 24.0,
    bucket: Annotated[
        str | None, typer.Option(help="--on skypilot: bucket to write to, gs://NAME/FOLDER")
    ] = None,
    spot: Annotated[bool, typer.Option("--spot", help="--on skypilot: use preemptible machines")] = False,
    template: Annotated[
        Path | None, typer.Option(help="--on: a template of your own, based on those in launch/")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Tokenise a corpus once, in parallel, into shards that training reads from disk.

    A preparation that was stopped continues where it was when the command is run again.
    """
    from scaling.config.data import DataConfig
    from scaling.config.load import validate

    given: dict[str, Any] = {
        "source": source,
        "tokenizer": tokenizer,
        "field": field,
        "validation_fraction": validation_fraction,
        "max_documents": max_documents,
        "on_error": on_error,
        "data_dir": data_dir,
    }
    config = validate(DataConfig, given, "data")
    if on:
        if shard is not None:
            raise BadInputError(f"--shard {shard}: with --on the jobs get it by themselves; give --shards N")
        arguments = [source, "--out", str(out), "--workers", str(workers)]
        for name, value in given.items():
            if name != "source" and value != DataConfig.model_fields[name].default:
                arguments += [f"--{name.replace('_', '-')}", str(value)]
        _submit(on, arguments, out, shards, workers, within, bucket, spot, template, dry_run, as_json)
        return
    if dry_run:
        raise BadInputError(
            "--dry-run: shows what --on ENGINE would submit; give --on slurm or --on skypilot"
        )
    from scaling.api.preparation_bar import preparation_bar
    from scaling.data.store.folder import unfinished
    from scaling.data.store.manifest import read_settings
    from scaling.data.store.prepare import prepare as prepare_corpus

    job = None if shard is None else _job(shard)
    with preparation_bar() as progress:
        done = prepare_corpus(config, out, workers=workers, job=job, progress=progress)
    document = {"out": str(out), "made": done.made, "kept": done.kept, "seconds": round(done.seconds, 3)}
    document |= {"text_bytes_made": done.text_bytes, "missing": list(done.missing)}
    if as_json:
        print_json(document | {"manifest": done.manifest.summary() if done.manifest else None})
        return
    if done.kept:
        typer.echo(f"{_shards(done.kept)} {'was' if done.kept == 1 else 'were'} there already")
    if done.manifest is None:
        settings = read_settings(out)
        assert settings is not None
        typer.echo(f"{_shards(done.made)} made in {out}; {unfinished(settings, done.missing)}")
        return
    if done.made:
        speed = done.text_bytes / max(done.seconds, 1e-9) / 1e6
        typer.echo(f"{_shards(done.made)} made in {done.seconds:.1f} s, {speed:.1f} MB of text per second")
    _show(out, done.manifest)


def join(folder: Folder, as_json: Json = False) -> None:
    """Join the shards that the jobs of an array have made, once all of them are there."""
    from scaling.data.store.folder import finished_manifest

    manifest = finished_manifest(folder)
    if as_json:
        print_json({"out": str(folder), "manifest": manifest.summary()})
    else:
        _show(folder, manifest)


def verify(folder: Folder, as_json: Json = False) -> None:
    """Compare every file of a prepared corpus with the hashes in its manifest."""
    from scaling.data.store.folder import finished_manifest
    from scaling.data.store.folder import verify as verify_folder

    manifest = finished_manifest(folder)
    wrong = verify_folder(folder, manifest)
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if wrong[1:] else ""
        raise BadInputError(
            f"{wrong[0]}{more}; delete what is damaged and run the same scaling data prepare again"
        )
    if as_json:
        print_json({"out": str(folder), "shards": len(manifest.shards), "damaged": wrong})
    else:
        typer.echo(f"{folder}: {_shards(len(manifest.shards))}, all files as they were written")


def _job(shard: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard)
    if not found:
        raise BadInputError(f"--shard {shard}: give I/N, for example 1/8 for the first of 8 jobs")
    return int(found[1]), int(found[2])


def _shards(count: int) -> str:
    return f"{count:,} shard{'' if count == 1 else 's'}"


def _show(folder: Path, manifest: "Manifest") -> None:
    from scaling.api.text.blocks import Text, terminal_width, text_of

    counts = {
        "shards": len(manifest.shards),
        "documents": manifest.documents,
        "empty": manifest.empty,
        "malformed": manifest.malformed,
        "duplicates": manifest.duplicates,
        "tokens": manifest.tokens,
        "bytes": manifest.text_bytes,
        "bytes per token": round(manifest.text_bytes / max(1, manifest.tokens - manifest.documents), 3),
        "validation documents": manifest.splits["validation"].documents,
        "validation tokens": manifest.splits["validation"].tokens,
    }
    lines = [Text(f"{name:22}{value:,}", " " * 22) for name, value in counts.items()]
    lines.append(Text(f"{'fingerprint':22}{manifest.fingerprint}", " " * 22))
    typer.echo(text_of(lines, terminal_width()))
    typer.echo(f"Train on it with data.source=prepared:{folder}")


def _submit(
    engine: str,
    arguments: list[str],
    out: Path,
    shards: int,
    workers: int,
    within: float,
    bucket: str | None,
    spot: bool,
    template: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    from scaling.api.launch import this_command
    from scaling.launch.job import Site
    from scaling.launch.preparation import Preparation

    command = ("scaling",) if engine == "skypilot" else this_command()
    site = Site(out, "prepare", command, bucket, spot=spot, within=within, template=template)
    preparation = Preparation(engine, tuple(arguments), shards, workers, site)
    text = preparation.submission()
    job = None if dry_run else preparation.submit()
    if as_json:
        print_json({"engine": engine, "shards": shards, "dry_run": dry_run, "job": job, "text": text})
    elif dry_run:
        typer.echo(text.rstrip())
    else:
        typer.echo(f"submitted to {engine} as {job}: {shards} jobs")
