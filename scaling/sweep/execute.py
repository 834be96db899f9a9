"""Running a sweep: finished runs are skipped, interrupted ones resume, failed ones stop only themselves."""

from pathlib import Path

import jax

from scaling.config.errors import BadInputError
from scaling.config.record import RunRecord, read_record
from scaling.config.sweep import SweepConfig
from scaling.parallel.processes import SharedError, from_first, is_first, several
from scaling.sweep.design import expand
from scaling.sweep.directory import prepare
from scaling.train.loop import train
from scaling.train.progress import Reporter, Silent
from scaling.train.run_files import own_data
from scaling.train.stopping import InterruptedRunError

__all__ = ["prepare", "run_sweep"]


def run_sweep(sweep: SweepConfig, directory: Path, reporter: Reporter) -> tuple[list[RunRecord], list[str]]:
    """Train every run of a sweep in `directory`: the records, and a line for each run that failed.

    Raises:
        InterruptedRunError: asked to stop; the run under way was saved.
    """
    runs = expand(sweep)
    from_first(lambda: prepare(sweep, directory))
    if not is_first():
        reporter = Silent()
    records, failures = [], []
    for number, run in enumerate(runs, 1):
        path = directory / run.name
        earlier = _finished(path)  # nobody writes a finished record again: all processes see the same
        if earlier is not None and earlier.id == run.id():
            try:
                own_data(path, run.data)
            except BadInputError as error:
                reporter.message(f"[{number}/{len(runs)}] {run.name}: failed: {error}")
                failures.append(f"{run.name}: {error}")
                continue
            reporter.message(f"[{number}/{len(runs)}] {run.name}: finished before, skipped")
            records.append(earlier)
            continue
        try:
            record = train(run, path, reporter)
        except InterruptedRunError:
            raise
        except Exception as error:  # whatever stopped this run must not stop the others
            if several() and not isinstance(error, SharedError | BadInputError):
                raise  # but the others of this run's processes did not see it
            line = (str(error).splitlines() or [type(error).__name__])[0]
            reporter.message(f"[{number}/{len(runs)}] {run.name}: failed: {line}")
            failures.append(f"{run.name}: {line}")
        else:
            points = ", ".join(f"{p.loss:.4f} at {p.tokens:,}" for p in record.points)
            reporter.message(
                f"[{number}/{len(runs)}] {run.name}: {record.params.total:,} parameters, "
                f"loss {points} tokens, {record.seconds['total']:.0f} s"
            )
            records.append(record)
        finally:
            jax.clear_caches()  # the next size compiles its own programs
    return records, failures


def _finished(path: Path) -> RunRecord | None:
    try:
        record = read_record(path)
    except BadInputError:
        return None
    return record if record is not None and record.status == "finished" else None
