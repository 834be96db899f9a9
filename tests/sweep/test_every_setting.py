"""Every setting of a sweep is in its runs as written, or refused with its name; over all fields of a run.

The fields come from the config classes: a new field is tested as soon as it exists.
"""

import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from scaling.config.compose import merge
from scaling.config.load import validate
from scaling.config.model import FAMILIES
from scaling.config.objective import OBJECTIVES
from scaling.config.run import RunConfig
from scaling.config.sweep import SweepConfig, sweep_tree
from scaling.runtime.errors import BadInputError
from scaling.sweep.design import expand

DESIGNS = ("ladder", "isoflop", "grid", "rungs")
PLACES = ("base", "axes", "rungs", "variants", "override")
RECIPE = {"width_per_layer": 16, "d_head": 8, "batch_tokens": 256, "reference_params": 1e4}
MIXED = {"source": "text:a.txt", "weight": 1.0}
TEXTS = ("bytes", "sentencepiece:t.model", "text:a.txt", "20:25", "ids", "some")
SCALARS: dict[Any, tuple[Any, ...]] = {
    bool: (True, False), int: (2, 1, 4, 0, 3, 64, 256), float: (0.25, 0.5, 2.0, 1, 1e-4), str: TEXTS,
}  # fmt: skip


def parts_of(annotation: Any) -> list[Any]:
    """An annotation without Annotated and unions around it."""
    if hasattr(annotation, "__metadata__"):
        return parts_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [part for one in get_args(annotation) for part in parts_of(one)]
    return [annotation]


def candidates(annotation: Any) -> list[Any]:
    """Values of the kind of a field, not all of them valid."""
    found: list[Any] = []
    for part in parts_of(annotation):
        if part in SCALARS:
            found += SCALARS[part]
        elif get_origin(part) is Literal:
            found += get_args(part)
        elif get_origin(part) is tuple:
            found += [[value] for value in candidates(get_args(part)[0])]
        elif get_origin(part) is dict:
            found += [{"some": value} for value in [MIXED, *candidates(get_args(part)[1])]]
        elif part is type(None):
            found.append(None)
        elif isinstance(part, type) and issubclass(part, BaseModel):
            found.append(least(part))
        else:
            raise AssertionError(f"no candidates for {part}")
    return found


def least(model: type[BaseModel]) -> dict[str, Any]:
    """The required fields of a config class."""
    required = {name: field for name, field in model.model_fields.items() if field.is_required()}
    return {name: candidates(field.annotation)[0] for name, field in required.items()}


def leaves(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """Path, annotation, default and what must be there beside it, of every field below a config class."""
    for name, field in model.model_fields.items():
        here = f"{path}.{name}" if path else name
        inner = [
            part
            for part in parts_of(field.annotation)
            if isinstance(part, type) and issubclass(part, BaseModel)
        ]
        yield here, field.annotation, field.get_default(call_default_factory=True), {}
        for part in inner if len(inner) == 1 else []:
            for below, annotation, default, _ in leaves(part, here):
                yield below, annotation, default, nested(here, least(part))


def nested(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


SIZED = {name for name, model in FAMILIES.items() if "d_head" in model.model_fields}


def contexts() -> Iterator[tuple[str, str, Any, Any, dict[str, Any]]]:
    """Family, path, annotation, default and surroundings of every field of a run."""
    for name, field in RunConfig.model_fields.items():
        if name == "model":
            for family, model in FAMILIES.items():
                for path, annotation, default, beside in leaves(model, "model"):
                    yield family, path, annotation, default, beside
        elif name == "objective":
            for objective in OBJECTIVES:
                called = str(objective.model_fields["name"].default)
                for path, annotation, default, _ in leaves(objective, "objective"):
                    family = next(name for name, kind in FAMILIES.items() if called in kind.objectives)
                    yield family, path, annotation, default, {"objective": {"name": called}}
        else:
            (part,) = parts_of(field.annotation)
            if part is str:
                yield "decoder", name, part, field.default, {}
            else:
                for path, annotation, default, beside in leaves(part, name):
                    yield "decoder", path, annotation, default, beside


CONTEXTS = list(contexts())


def base_of(family: str, design: str) -> dict[str, Any]:
    """A valid base for runs of a family under a design."""
    model: dict[str, Any] = {"vocab_size": 512, "max_length": 256, "family": family}
    train: dict[str, Any] = {"checkpoint_every": 200, "eval_tokens": 64}
    if design in ("grid", "rungs"):
        train |= {"steps": 40, "batch_tokens": 256, "learning_rate": 0.01}
        own = FAMILIES[family].model_fields
        sizes = {"n_layers": 2, "d_model": 16, "n_heads": 2, "context": 2}
        sizes |= {name: 16 for name in own if name.startswith("d_") and own[name].is_required()}
        for name in (name for name in sizes if name in own and name not in ("d_head", "d_ff")):
            kind = parts_of(own[name].annotation)[0]
            model[name] = get_args(kind)[0] if get_origin(kind) is Literal else sizes[name]
        if family == "ngram":
            model |= {name: 2 for name, field in own.items() if field.is_required() and name not in model}
    return {"model": model, "data": {"sequence_length": 16}, "train": train}


def sweep_with(
    design: str, place: str, family: str, path: str, value: Any, beside: dict[str, Any]
) -> SweepConfig:
    base = merge(base_of(family, design), beside)
    if path == "train.tokens":
        base["train"].pop("steps", None)
    written = nested(path, value)
    tree: dict[str, Any] = {"name": "s", "design": design}
    if design in ("ladder", "isoflop"):
        tree |= {"recipe": RECIPE, "widths": [32], "branches": False}
        tree |= {"tokens": [4096]} if design == "ladder" else {"budgets": [1e12]}
    elif design == "grid":
        tree["axes"] = {"data.prefetch" if path != "data.prefetch" else "train.log_every": [3]}
    else:
        tree["rungs"] = [{}]
    changes = []
    if place == "base":
        base = merge(base, written)
    elif place == "axes":
        tree["axes"] = {path: [value]}
    elif place == "rungs":
        tree["rungs"] = [written]
    elif place == "variants":
        tree["variants"] = {"a": {"base": written}}
    else:
        changes = [(["base", *path.split(".")], value)]
    return validate(SweepConfig, sweep_tree({**tree, "base": base}, changes), "s")


def agrees(found: Any, written: Any) -> bool:
    """Whether a value is what was written; of a mapping, in the fields that were."""
    if isinstance(written, dict):
        return isinstance(found, dict) and all(agrees(found[key], value) for key, value in written.items())
    if isinstance(written, list | tuple):
        return (
            isinstance(found, list | tuple)
            and len(found) == len(written)
            and all(map(agrees, found, written))
        )
    return bool(found == written)


def check(design: str, place: str, context: tuple[str, str, Any, Any, dict[str, Any]], value: Any) -> bool:
    """Whether the value is in every run; refusals name the field and are one line."""
    family, path, _, _, beside = context
    try:
        runs = expand(sweep_with(design, place, family, path, value, beside))
    except BadInputError as error:
        said = str(error)
        assert len(said.splitlines()) == 1 and len(said) < 600
        # By its own name or that of what it is inside; of a mapping by the name of what is wrong in it.
        named = path.split(".")[1:] or [path]
        assert any(name in said for name in named) or isinstance(value, dict | list), said
        return False
    assert runs
    for run in runs:
        found: Any = run.model_dump()
        for part in path.split("."):
            found = found[part]
        unset = value is None and path in ("train.tokens", "train.steps")  # null: the design's own
        assert unset or agrees(found, value), (design, place, path, value, found)
    return True


def fits(design: str, place: str, family: str) -> bool:
    if design in ("ladder", "isoflop") and family not in SIZED:
        return False  # refused for its family: tests/sweep/test_design.py
    return {"axes": design == "grid", "rungs": design == "rungs"}.get(place, True)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("design", DESIGNS)
def test_every_field_is_honoured_or_refused_by_name(design: str, place: str) -> None:
    honoured = total = 0
    for context in CONTEXTS:
        family, _, annotation, default, _ = context
        if not fits(design, place, family):
            continue
        others = [value for value in candidates(annotation) if not agrees(default, value)]
        if not others:
            continue
        total += 1
        honoured += any(check(design, place, context, value) for value in others[:3])
    if total:
        assert honoured > 0.7 * total, (honoured, total)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(DESIGNS), st.sampled_from(PLACES), st.sampled_from(CONTEXTS), st.data())
def test_any_value_is_honoured_or_refused_by_name(
    design: str, place: str, context: Any, data: st.DataObject
) -> None:
    if fits(design, place, context[0]):
        check(design, place, context, data.draw(st.sampled_from(candidates(context[2]))))
