"""A run of an n-gram: counted once for each budget, and scored on the validation set that networks have."""

import time
from pathlib import Path

from scaling.config.baselines import NGramConfig
from scaling.config.record import ParameterCounts, Point, RunRecord
from scaling.config.run import RunConfig
from scaling.data.mixture import open_data
from scaling.data.validation import ValidationBatches
from scaling.models.ngram import NGram
from scaling.train import progress
from scaling.train.device import device_facts
from scaling.train.record import make_record, now
from scaling.train.run_directory import RunDirectory
from scaling.train.run_tokenizer import own_data, tokenizer_record
from scaling.train.schedules import budgets
from scaling.train.validation import validation_losses


def fit_ngram(run: RunConfig, path: Path, reporter: progress.Reporter) -> RunRecord:
    """Count the training text up to each budget of the run, and keep the model of the last as `ngram.npz`.

    A budget of D tokens reads the first D tokens of the documents, each once; of a mixture, the first tokens
    of each source in its share. Nothing is multiplied: FLOPs
    are 0, and the work is `lookups_per_token` searches of sorted tables for each token scored.

    Raises:
        BadInputError: the directory or the data do not fit the run.
    """
    assert isinstance(run.model, NGramConfig)
    began, started = time.perf_counter(), now()
    corpus = open_data(
        own_data(path, run.data),
        run.objective,
        vocab_size=run.model.vocab_size,
        progress=progress.every_tenth(reporter, "tokenising"),
    )
    rows = run.train.batch_tokens // run.data.sequence_length
    validation = corpus.validation_sets(rows, tokens=run.train.eval_tokens)
    points: dict[int, Point] = {}
    params: ParameterCounts | None = None
    with RunDirectory(path, run) as directory:
        for tokens, step in budgets(run.train):
            begun = time.perf_counter()
            reporter.message(f"{run.name}: counting {tokens:,} tokens up to order {run.model.order}")
            model = NGram.fit(*corpus.training_text(tokens), run.model)
            losses = validation_losses(validation, [_score(model, one.batches) for one in validation])
            params = model.parameters
            points[tokens] = Point(
                tokens=tokens,
                flops=0.0,
                flops_6nd=0.0,
                step=step,
                loss=losses.loss,
                bits_per_byte=losses.bits_per_byte,
                by_source=losses.by_source,
                train_loss=None,
                seconds=time.perf_counter() - begun,
            )
        model.save(path / "ngram.npz")
        assert params is not None
        record = make_record(
            run,
            "finished",
            params=params,
            flops_per_token=0.0,
            step=run.train.total_steps(),
            points=points,
            losses={"loss": None, **losses.line()},
            seconds={"total": time.perf_counter() - began, "step": sum(p.seconds for p in points.values())},
            tokens_per_second=None,
            mfu=None,
            device=device_facts(run.model.compute_dtype, 1),
            started=started,
            tokenization=tokenizer_record(run.data.tokenizer, corpus.tokenizer),
        )
        directory.write_record(record)
    return record


def _score(model: NGram, batches: ValidationBatches) -> tuple[float, float]:
    """The summed loss in nats of batches, and their tokens."""
    sums = model.score(batches)
    return sums.nll_sum, sums.weight_sum
