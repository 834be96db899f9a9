"""Sliding windows of decoders in config.json: which layers have one, and how wide it is."""

from collections.abc import Mapping
from typing import Any

from scaling.config.model import DecoderConfig
from scaling.hf.architecture import Architecture
from scaling.runtime.errors import BadInputError

_KINDS = {"full_attention": "dense", "sliding_attention": "banded"}


def pattern_from(
    arch: Architecture, settings: Mapping[str, Any], layers: int, max_length: int, where: str
) -> dict[str, Any]:
    """The fields `layer_pattern` and `band_width`, as far as a model has windows.

    A window as wide as the longest sequence is none.

    Raises:
        BadInputError: a window that is not a positive integer, or a layer of an unknown kind.
    """
    if arch.windows == "none":
        return {}
    given = {**arch.defaults, **settings}
    width = given.get("sliding_window") if given.get("use_sliding_window", True) else None
    if width is not None and (not isinstance(width, int) or isinstance(width, bool) or width < 1):
        raise BadInputError(f"{where}: sliding_window={width!r} is not a positive integer")
    kinds = ["banded"] * layers if arch.windows == "all" else _kinds(given, width, layers, where)
    if width is None or width >= max_length or "banded" not in kinds:
        return {}
    period = next(n for n in range(1, layers + 1) if layers % n == 0 and kinds == kinds[:n] * (layers // n))
    return {"layer_pattern": tuple(kinds[:period]), "band_width": width}


def _kinds(given: Mapping[str, Any], width: int | None, layers: int, where: str) -> list[str]:
    """The kind of each layer: by `layer_types`, or in older files by the first layer with a window."""
    names = given.get("layer_types")
    if names is None:
        first = given["max_window_layers"]
        if not isinstance(first, int) or isinstance(first, bool):
            raise BadInputError(f"{where}: max_window_layers={first!r} is not an integer")
        return ["dense" if i < first else "banded" for i in range(layers)]
    if not isinstance(names, list) or len(names) != layers:
        raise BadInputError(
            f"{where}: layer_types={names!r} does not name the kind of each of {layers} layers"
        )
    for i, name in enumerate(names):
        if not isinstance(name, str) or name not in _KINDS:
            raise BadInputError(
                f"{where}: layer_types[{i}]={name!r} is not known; known: {', '.join(_KINDS)}"
            )
        if width is None and _KINDS[name] == "banded":
            raise BadInputError(f"{where}: layer_types[{i}]={name!r} without a sliding_window")
    return [_KINDS[name] for name in names]


def why_not_windows(arch: Architecture, model: DecoderConfig) -> str | None:
    """The setting of a model's windows that an architecture lacks; None if they fit."""
    kinds = set(model.layer_pattern)
    if "banded" in kinds and (arch.windows == "none" or (arch.windows == "all" and "dense" in kinds)):
        return f"layer_pattern={list(model.layer_pattern)}"
    return None


def pattern_settings(arch: Architecture, model: DecoderConfig) -> dict[str, Any]:
    """The settings of config.json for a model's windows, for files of any age."""
    width = model.band_width if "banded" in model.layer_pattern else None
    if arch.windows == "none":
        return {}
    if arch.windows == "all":
        return {"sliding_window": width}
    kinds = list(model.layer_pattern) * (model.n_layers // model.layer_period)
    names = {ours: theirs for theirs, ours in _KINDS.items()}
    return {
        "use_sliding_window": width is not None,
        "sliding_window": width,
        "max_window_layers": kinds.index("banded") if width is not None else model.n_layers,
        "layer_types": [names[kind] for kind in kinds],
    }
