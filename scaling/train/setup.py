"""What a run reads, and where it runs: corpus, batches and mesh, opened before anything is written."""

from dataclasses import dataclass

from jax.sharding import Mesh

from scaling.config.load import validate
from scaling.config.run import RunConfig
from scaling.data.batches import BatchIterator, BatchSchedule, ValidationBatches
from scaling.data.corpus import open_corpus
from scaling.data.sources import split_rule
from scaling.parallel.mesh import batch_share, make_mesh
from scaling.train.progress import Reporter, every_tenth


@dataclass(frozen=True)
class Inputs:
    """What a run reads, and where it runs."""

    mesh: Mesh
    batches: BatchIterator
    validation: ValidationBatches


def open_inputs(run: RunConfig, reporter: Reporter) -> Inputs:
    """Open a run's corpus and mesh; writes nothing but the token cache.

    Raises:
        BadInputError: the data, the tokenizer or the mesh do not fit the run.
    """
    mesh = make_mesh(run.mesh)
    validate(RunConfig, run.model_dump() | {"mesh": dict(mesh.shape)}, "run")  # where -1 was filled up
    corpus = open_corpus(
        run.data,
        run.objective,
        vocab_size=run.model.vocab_size,
        progress=every_tenth(reporter, "tokenising"),
    )
    if (rule := split_rule(run.data)).startswith("by position"):
        reporter.message(f"{run.name}: data.source={run.data.source} is one text, split {rule}")
    index, count = batch_share(mesh)
    hosts = {"host_index": index, "host_count": count}
    length = run.data.sequence_length
    stages = tuple((first, batch // length) for first, batch in run.train.batch_stages())
    rows = run.train.batch_tokens // length // run.train.accumulation
    return Inputs(
        mesh,
        corpus.train_batches(BatchSchedule(stages), **hosts),
        corpus.validation_batches(rows, tokens=run.train.eval_tokens, **hosts),
    )
