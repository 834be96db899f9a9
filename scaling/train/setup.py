"""What a run reads: corpus and batches, opened before anything is written."""

from collections.abc import Callable
from dataclasses import dataclass

from jax.sharding import Mesh

from scaling.config.load import validate
from scaling.config.mesh import RUN_AXIS
from scaling.config.record import PackingRecord, SourceShare, TokenizerRecord
from scaling.config.run import RunConfig
from scaling.data.batches import BatchIterator, BatchSchedule
from scaling.data.mixture import open_data
from scaling.data.sources import split_rule
from scaling.data.validation import ValidationSet
from scaling.parallel.mesh import batch_share
from scaling.train.progress import Reporter, every_tenth
from scaling.train.run_tokenizer import tokenizer_record
from scaling.train.schedules import budgets


@dataclass(frozen=True)
class Inputs:
    """What a run reads."""

    batches: BatchIterator
    validation: tuple[ValidationSet, ...]
    mixture_read: Callable[[int], dict[str, SourceShare] | None]
    """What was read of each source of a mixture by a step of the trunk; None without a mixture."""
    packing: PackingRecord | None
    tokenization: TokenizerRecord


def open_inputs(run: RunConfig, mesh: Mesh, reporter: Reporter) -> Inputs:
    """Open a run's corpus for a mesh; writes nothing but the token cache.

    Raises:
        BadInputError: the data, the tokenizer or the mesh do not fit the run, or a source is exhausted
            before its end.
    """
    sizes = {axis: size for axis, size in mesh.shape.items() if axis != RUN_AXIS}
    validate(RunConfig, run.model_dump() | {"mesh": sizes}, "run")  # where -1 was filled up
    corpus = open_data(
        run.data,
        run.objective,
        vocab_size=run.model.vocab_size,
        progress=every_tenth(reporter, "tokenising"),
    )
    for field, data in run.data.sources().items():
        if (rule := split_rule(data)).startswith("by position"):
            reporter.message(f"{run.name}: {field}={data.source} is one text, split {rule}")
    index, count = batch_share(mesh)
    hosts = {"host_index": index, "host_count": count}
    length = run.data.sequence_length
    stages = tuple((first, batch // length) for first, batch in run.train.batch_stages())
    rows = run.train.batch_tokens // length // run.train.accumulation
    steps, schedule = run.train.total_steps(), BatchSchedule(stages)
    batches = corpus.train_batches(schedule, steps=steps, **hosts)
    try:
        for _, end in budgets(run.train):
            batches.check(end)
        validation = corpus.validation_sets(rows, tokens=run.train.eval_tokens, **hosts)
        total = schedule.rows_before(steps)

        def mixture_read(step: int) -> dict[str, SourceShare] | None:
            return corpus.shares(schedule.rows_before(step), total)

        tokenization = tokenizer_record(run.data.tokenizer, corpus.tokenizer)
        return Inputs(batches, validation, mixture_read, corpus.packing(), tokenization)
    except BaseException:
        batches.close()
        raise
