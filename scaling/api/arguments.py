"""The forms in which the API accepts options: Python values, or text as on the command line."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.config.devices import Devices
    from scaling.laws.points import Where

Overrides = Mapping[str, Any] | Iterable[str] | None  # {"model.n_layers": 6} or ["model.n_layers=6"]
Sizes = Mapping[str, int] | str | None  # {"fsdp": 8} or "fsdp=8"
Names = Sequence[str] | str | None  # ["copy", "reverse"] or "copy,reverse"
Numbers = float | Sequence[float] | str | None  # 1e21, [1e21, 1e22] or "1e21,1e22"
Place = Mapping[str, float] | str | None  # {"params": 7e9, "tokens": 1e12} or "params=7e9,tokens=1e12"
Rows = Mapping[str, Any] | str | None  # {"dataset": "c4"} or "dataset=c4"
ColumnNames = Mapping[str, str] | str | None  # {"params": "N"} or "params=N"


def overrides_of(overrides: Overrides, **options: Any) -> list[str]:
    """`key=value` overrides as a list, followed by those that `options` stand for; `model__remat` is
    `model.remat`, and None is left out."""
    if isinstance(overrides, Mapping):
        given = [f"{key}={_yaml(value)}" for key, value in overrides.items()]
    else:
        given = [overrides] if isinstance(overrides, str) else list(overrides or ())
    return [
        *given,
        *(f"{key.replace('__', '.')}={value}" for key, value in options.items() if value is not None),
    ]


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def config_of(config: Any) -> Any:
    """A config for a loader: a name or a path as text, an object or a mapping as a tree."""
    if isinstance(config, str | Path):
        return str(config)
    if isinstance(config, Mapping):
        return dict(config)
    return config.model_dump(mode="json", exclude_unset=True)


def mesh_text(mesh: Sizes) -> str | None:
    """Devices per mesh axis as `fsdp=8,tensor=2`."""
    return mesh if mesh is None or isinstance(mesh, str) else ",".join(f"{k}={v}" for k, v in mesh.items())


def devices_named(on: str) -> "Devices":
    """The devices of KIND:COUNT or KIND:TOPOLOGY; this computer's own CPU is measured the first time.

    Raises:
        BadInputError: an unknown kind, or a count or topology that does not exist.
    """
    from scaling.config.devices import parse_devices, this_cpu_is_measured

    if on.startswith("cpu:") and not this_cpu_is_measured():
        parse_devices(on)  # a bad count is refused before anything is measured
        from scaling.train.device import measure_this_cpu

        measure_this_cpu()
    return parse_devices(on)


def check_positive(*, most: float = sys.float_info.max, **options: float | None) -> None:
    """Refuse numbers that are not positive, or above `most`; the keys are options such as `inference_tokens`.

    Raises:
        BadInputError: the first one that is not.
    """
    for name, value in options.items():
        if value is not None and not 0 < value <= most:
            raise BadInputError(f"--{name.replace('_', '-')} {value:g}: give a positive number")


def names_of(names: Names) -> list[str] | None:
    """A list of names; None stands for all."""
    if isinstance(names, str):
        names = names.split(",")
    return None if names is None else [name.strip() for name in names if name.strip()]


def counts_of(option: str, counts: int | Sequence[int] | str, least: int) -> tuple[int, ...]:
    """Whole numbers in order, once each.

    Raises:
        BadInputError: one is not a whole number of at least `least`.
    """
    parts = counts.split(",") if isinstance(counts, str) else [counts] if isinstance(counts, int) else counts
    texts = [str(part).strip() for part in parts]
    if not texts or not all(re.fullmatch(r"[0-9]{1,6}", text) and int(text) >= least for text in texts):
        raise BadInputError(
            f"{option} {','.join(texts)}: give whole numbers from {least} on, as {max(1, least)},8"
        )
    return tuple(sorted({int(text) for text in texts}))


def shots_of(shots: int | Sequence[int] | str | None) -> list[int] | None:
    """Numbers of examples in the prompt; None stands for all.

    Raises:
        BadInputError: one is not a whole number.
    """
    if isinstance(shots, int):
        return [shots]
    if not isinstance(shots, str):
        return None if shots is None else list(shots)
    parts = [part.strip() for part in shots.split(",") if part.strip()]
    for part in parts:
        if not part.isdecimal():
            raise BadInputError(f"--shots {shots!r}: {part!r} is not accepted; give whole numbers as 0,1,8")
    return [int(part) for part in parts]


def positive_number(option: str, value: Any) -> float:
    """A number from 0 to 1e300, both excluded.

    Raises:
        BadInputError: it is not.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < 1e300:
        raise BadInputError(f"{option}: {value!r} is not accepted; give a positive number such as 1e21")
    return number


def budgets_of(at: Numbers) -> list[float]:
    """Training FLOPs to allocate."""
    values = at.split(",") if isinstance(at, str) else [at] if isinstance(at, int | float) else at or ()
    return [positive_number("--at", value.strip() if isinstance(value, str) else value) for value in values]


def place_of(predict: Place) -> dict[str, float]:
    """A value for each variable of a law: params, tokens and others.

    Raises:
        BadInputError: a part is not NAME=NUMBER, or a number is not positive.
    """
    if isinstance(predict, str):
        named: dict[str, Any] = {}
        for part in predict.split(","):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals:
                raise BadInputError(
                    f"--predict: {part!r} is not NAME=NUMBER, for example params=7e9,tokens=1e12"
                )
            named[name] = value
        predict = named
    return {name: positive_number(f"--predict {name}", value) for name, value in (predict or {}).items()}


def where_of(where: Rows) -> "Where | None":
    """The accepted values of columns; None for all rows. A column may be given one value or several."""
    from scaling.laws.read.select import parse_where

    if where is None:
        return None
    if isinstance(where, str):
        return parse_where(where)
    return {
        name: (str(values),)
        if isinstance(values, str) or not isinstance(values, Sequence)
        else tuple(map(str, values))
        for name, values in where.items()
    }


def columns_of(columns: ColumnNames) -> dict[str, str] | None:
    """The column that holds each field.

    Raises:
        BadInputError: a part is not FIELD=COLUMN, or there is no such field.
    """
    from scaling.laws.read.columns import check_fields, parse_columns

    if not columns:
        return None
    if isinstance(columns, str):
        return parse_columns(columns)
    check_fields(columns)
    return dict(columns)
