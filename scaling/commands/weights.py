"""Trained weights: `generate`, `score`, `import-hf`, `export-hf`, `evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from scaling.commands.options import Json, Mesh, show
from scaling.runtime.errors import BadInputError

Run = Annotated[Path, typer.Argument(help="run directory")]


def import_hf(
    path: Annotated[Path, typer.Argument(help="directory with config.json and safetensors")],
    out: Annotated[Path, typer.Option(help="run directory to create")],
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="hf:PATH, sentencepiece:PATH, bytes or ids; default: the tokenizer in the folder, or ids"
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="type of the parameters: float32 or bfloat16")] = "float32",
    as_json: Json = False,
) -> None:
    """Make a run from a Hugging Face checkpoint: GPT-1, GPT-2, LLaMA, BERT, RoBERTa, ALBERT or T5."""
    from scaling.api import weights

    show(weights.import_hf(path, out, tokenizer=tokenizer, dtype=dtype), as_json)


def export_hf(
    run: Run,
    out: Annotated[Path, typer.Option(help="directory to create")],
    layout: Annotated[
        str | None,
        typer.Option(help="openai-gpt, gpt2, llama, bert, roberta, albert or t5; default: what fits"),
    ] = None,
    shard_bytes: Annotated[str, typer.Option(help="most bytes per file of weights")] = "5e9",
    as_json: Json = False,
) -> None:
    """Write a run's weights as config.json and safetensors, for transformers to load."""
    from scaling.api import weights

    show(weights.export_hf(run, out, layout=layout, shard_bytes=shard_bytes), as_json)


def score(
    run: Run,
    text: Annotated[Path | None, typer.Option(help="text file")] = None,
    ids: Annotated[
        Path | None, typer.Option(help='JSON: {"ids": [[...]]}, and "decoder_ids" for an encoder-decoder')
    ] = None,
    logits: Annotated[
        Path | None,
        typer.Option(help=".npy to write, float32 (rows, longest, vocabulary); zero past a row's end"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the log-probability of each token, in nats.

    A decoder's tokens from the second on, each given those before it; an encoder's tokens each at its own
    position, nothing masked; an encoder-decoder's decoder ids from the second on, given the ids. Text is
    framed by the special tokens of the run's tokenizer; an encoder-decoder writes it, given an empty text.
    """
    from scaling.api import scored, weights

    if (text is None) == (ids is None):
        raise BadInputError("give --text FILE or --ids FILE.json, one of them")
    if logits is not None:
        scored.check_logits(logits)
    rows, decoder_rows = scored.read_ids(ids) if ids is not None else (None, None)
    words = None if text is None else scored.read_text(text)
    result = weights.score(run, words, ids=rows, decoder_ids=decoder_rows, logits=logits or False)
    show(result, as_json)


def generate(
    run: Run,
    prompt: Annotated[str, typer.Option(help="text to continue")],
    tokens: Annotated[int, typer.Option(help="most tokens to generate")] = 100,
    temperature: Annotated[float, typer.Option(help="sampling temperature; 0 is greedy")] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="sample from the k most likely tokens")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="sample from the most likely tokens that reach this probability")
    ] = None,
    beams: Annotated[
        int | None, typer.Option(help="number of beams, for beam search instead of sampling")
    ] = None,
    length_penalty: Annotated[float, typer.Option(help="length penalty of beam search; 0 is none")] = 0.6,
    seed: Annotated[int, typer.Option(help="seed of the samples")] = 0,
    as_json: Json = False,
) -> None:
    """Continue a prompt with a trained decoder, or answer it with an encoder-decoder."""
    from scaling.api import weights
    from scaling.commands.options import print_json

    result = weights.generate(
        run,
        prompt,
        tokens=tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        beams=beams,
        length_penalty=length_penalty,
        seed=seed,
    )
    if as_json:
        print_json(result.to_dict())
    else:
        typer.echo(prompt + result.text)  # as it was written, not wrapped


def evaluate(
    run: Annotated[Path, typer.Argument(help="run directory, or sweep directory for all its finished runs")],
    suite: Annotated[str, typer.Option(help="suite, or KIND:PATH of a published benchmark's files")],
    tasks: Annotated[
        str | None, typer.Option(help="tasks of the suite to run, e.g. a,b; default: all")
    ] = None,
    shots: Annotated[str, typer.Option(help="examples in the prompt, e.g. 0,1,8")] = "0",
    step: Annotated[str, typer.Option(help="checkpoints: last, all, or a step")] = "last",
    items: Annotated[int, typer.Option(help="most items per task")] = 500,
    template: Annotated[str | None, typer.Option(help="prompt template; default: each task's own")] = None,
    seed: Annotated[int, typer.Option(help="seed of the items, examples and samples")] = 0,
    new_tokens: Annotated[
        int | None, typer.Option(help="most tokens to generate; default: the longest answer plus 4")
    ] = None,
    pass_at: Annotated[str | None, typer.Option(help="values of k for pass@k, e.g. 1,10")] = None,
    samples: Annotated[int | None, typer.Option(help="samples per item for pass@k")] = None,
    temperature: Annotated[float, typer.Option(help="sampling temperature for pass@k")] = 0.8,
    mesh: Mesh = None,
    again: Annotated[bool, typer.Option("--again", help="repeat evaluations that are done")] = False,
    as_json: Json = False,
) -> None:
    """Score tasks, with intervals: zero, one or few examples in the prompt, by likelihood or generation.

    Writes RUN/evals/SUITE-STEP.json; scores that the file already holds are not computed again.
    """
    from scaling.api import evaluations

    result = evaluations.evaluate(
        run,
        suite,
        tasks=tasks,
        shots=shots,
        step=step,
        items=items,
        template=template,
        seed=seed,
        new_tokens=new_tokens,
        pass_at=pass_at,
        samples=samples,
        temperature=temperature,
        mesh=mesh,
        again=again,
    )
    show(result, as_json)
    if not as_json:
        paths = result.paths
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        typer.echo(f"Written to {', '.join(map(str, paths[:3]))}{more}")
