"""A sweep directory: run directories, and `sweep.yaml`, which says what they are of."""

from pathlib import Path
from typing import Any

from scaling.config.load import dump_yaml, read_yaml, validate
from scaling.config.sweep import READS, SweepConfig
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import write_atomically


def read_sweep(directory: Path) -> SweepConfig:
    """The sweep that a directory is of, as it was expanded when it was made.

    Directories of earlier versions hold `seeds: [0]` where no seeds were given, and fields that their design
    never read.

    Raises:
        BadInputError: `sweep.yaml` is missing or is not a sweep.
    """
    path = directory / "sweep.yaml"
    return validate(SweepConfig, _of_today(read_yaml(path)), str(path))


def _of_today(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    if isinstance(tree.get("variants"), dict) and tree["variants"]:
        return {**tree, "variants": {key: _of_today(one) for key, one in tree["variants"].items()}}
    reads = READS.get(str(tree.get("design")), frozenset(tree))
    unread = set(SweepConfig.model_fields) - reads
    tree = {field: value for field, value in tree.items() if field not in unread}
    if tree.get("seeds") == [0]:
        del tree["seeds"]
    base = tree.get("base")
    train = base.get("train") if isinstance(base, dict) else None
    if isinstance(train, dict) and {"tokens", "steps"} & set(train):
        tree.pop("budgets" if tree.get("design") == "rungs" else "", None)
    return tree


def prepare(sweep: SweepConfig, directory: Path) -> None:
    """Make the sweep directory and write `sweep.yaml`.

    Raises:
        BadInputError: the directory holds another sweep or cannot be written.
    """
    path = directory / "sweep.yaml"
    try:
        if path.is_file():
            held = read_sweep(directory)
            if held.name != sweep.name:
                raise BadInputError(
                    f"{directory}: holds the sweep {held.name!r}: give this one another directory with --out"
                )
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(path, dump_yaml(sweep).encode())
    except OSError as error:
        raise BadInputError(f"{directory}: cannot be written ({error.strerror})") from error
