"""Compiled steps remembered: a compile takes a minute, and gives the same answer until something changes.

No JAX is imported until something has to be compiled.
"""

import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

import scaling
from scaling.config.devices import Devices
from scaling.config.record import Compiled, Effort, versions
from scaling.config.run import RunConfig
from scaling.runtime.environment import prepare_environment
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import cache_root, write_atomically

# Source files that shape the compiled step, or how it is read.
_SOURCES = (
    "models/**/*.py",
    "parallel/**/*.py",
    "config/**/*.py",
    "train/step.py",
    "train/optimizers.py",
    "train/dry_run.py",
)


def compiled_step(
    run: RunConfig, devices: Devices, effort: Effort = "quick", fresh: bool = False
) -> Compiled:
    """`dry_run`, or what it said before of the same thing; `fresh` compiles in any case.

    Raises:
        BadInputError: as `dry_run`.
    """
    path = cache_path(run, devices, effort)
    if not fresh and (remembered := _read(path)) is not None:
        return remembered
    prepare_environment(devices.hardware.platform, devices.count)
    from scaling.train.dry_run import dry_run

    compiled = dry_run(run, devices, effort)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, compiled.model_dump_json(indent=1).encode())
    except (OSError, BadInputError):
        pass  # an answer that cannot be remembered is still an answer
    return compiled


def cache_path(run: RunConfig, devices: Devices, effort: Effort) -> Path:
    """The file of an answer, named by the hash of everything that it depends on."""
    depends = {
        "run": run.model_dump(mode="json", include={"model", "train", "mesh"}),
        "arrays": run.batch_arrays(),
        "devices": devices.model_dump(mode="json"),
        "effort": effort,
        "versions": versions(devices.hardware.platform),
        "sources": _sources(),
    }
    text = json.dumps(depends, sort_keys=True)
    return cache_root() / "dryrun" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def _read(path: Path) -> Compiled | None:
    """What was remembered; None for nothing, and for what does not read back."""
    try:
        return Compiled.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _sources() -> str:
    package = Path(scaling.__file__).parent
    digest = hashlib.sha256()
    for pattern in _SOURCES:
        for path in sorted(package.glob(pattern)):
            digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
