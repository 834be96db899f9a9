"""What a plan did not choose, and why: other layouts of the same size, other sizes."""

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

from scaling.estimate.layouts import MARGIN, Candidate
from scaling.estimate.planner import Inference, Point, over

_FASTER = 2  # layouts told of that would have been faster and do not fit
_SLOWER = 2
_NEAR = (0.25, 0.5, 2.0, 4.0)  # sizes told of, relative to the chosen one


@dataclasses.dataclass(frozen=True)
class Alternative:
    """A layout or a size that was rejected. Parameters are in the law's counting; unknown is null."""

    what: Literal["layout", "size"]
    params: int
    tokens: int | None
    loss: float | None
    mesh: dict[str, int] | None
    remat: str | None
    accumulation: int | None
    step_seconds: float | None
    memory_bytes: int | None
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return dataclasses.asdict(self)


def rejected(
    chosen: Point,
    layouts: Iterable[Candidate],
    sizes: Iterable[Point],
    inference: Inference | None = None,
) -> list[Alternative]:
    """Faster layouts that do not fit, slower ones that do, and sizes around the chosen one.

    Of a size chosen for what it serves, other sizes are told by their FLOPs at the same loss.
    """
    found = _layouts(chosen, list(layouts))
    if inference is None:
        return [*found, *_sizes(chosen, list(sizes))]
    return [*found, *_served(chosen, inference)]


def _layouts(chosen: Point, layouts: list[Candidate]) -> list[Alternative]:
    best = chosen.candidate
    assert best is not None
    # Of a mesh and policy the refused one with the most accumulation: it came nearest to fitting.
    refused = {(str(one.mesh), one.remat): one for one in layouts if not one.fits}
    faster = [one for one in refused.values() if one.time.seconds <= best.time.seconds]
    slower = [one for one in layouts if one.fits and one.layout != best.layout]
    told = [(one, f"{over(one)} with {MARGIN:.0%} left free") for one in _various(faster, _FASTER)]
    for one in _various(slower, _SLOWER):
        share = one.time.seconds / best.time.seconds - 1
        told.append((one, f"slower by {share:.1%}" if share >= 5e-4 else "as fast, to 0.05%"))
    return [
        Alternative(
            what="layout",
            params=chosen.params,
            tokens=None,
            loss=None,
            mesh=one.mesh.sizes(),
            remat=one.remat,
            accumulation=one.layout.accumulation,
            step_seconds=one.time.seconds,
            memory_bytes=one.memory.total,
            reason=reason,
        )
        for one, reason in told
    ]


def _various(candidates: list[Candidate], most: int) -> list[Candidate]:
    """The first of each policy of rematerialisation, then the first of the rest."""
    seen: dict[str, Candidate] = {}
    for one in candidates:
        seen.setdefault(one.remat, one)
    rest = [one for one in candidates if one not in seen.values()]
    return [*seen.values(), *rest][:most]


def _served(chosen: Point, inference: Inference) -> list[Alternative]:
    totals = dict(inference.others) | {inference.alone: inference.alone_total_flops}
    totals.pop(chosen, None)
    best = inference.flops + inference.train_flops
    told = _around(chosen, list(totals))
    if inference.alone in totals and inference.alone not in told:
        told.append(inference.alone)
    return [
        _size(point, point.reason or f"takes {totals[point] / best - 1:.1%} more FLOPs with what it serves")
        for point in told
    ]


def _around(chosen: Point, others: list[Point]) -> list[Point]:
    """Of other sizes the nearest to a quarter, half, twice and four times the chosen one."""
    told: list[Point] = []
    for ratio in _NEAR:
        near = min(others, key=lambda point: abs(point.params / (ratio * chosen.params) - 1), default=None)
        if near and near not in told and 0.6 < near.params / (ratio * chosen.params) < 1.7:
            told.append(near)
    return told


def _sizes(chosen: Point, sizes: list[Point]) -> list[Alternative]:
    others = [point for point in sizes if point.shape != chosen.shape]
    told = _around(chosen, others)
    # What the law prefers and the devices cannot hold is the first thing to know.
    wished = [point for point in others if point.reason is not None and point.loss < chosen.loss]
    if wished:
        told.append(min(wished, key=lambda point: point.loss))
    return [
        _size(point, point.reason or f"loss higher by {point.loss - chosen.loss:.4f}")
        for point in dict.fromkeys(told)
    ]


def _size(point: Point, reason: str) -> Alternative:
    candidate = point.candidate
    return Alternative(
        what="size",
        params=point.params,
        tokens=point.tokens or None,
        loss=point.loss if point.tokens else None,
        mesh=None if candidate is None else candidate.mesh.sizes(),
        remat=None if candidate is None else candidate.remat,
        accumulation=None if candidate is None else candidate.layout.accumulation,
        step_seconds=None if candidate is None else candidate.time.seconds,
        memory_bytes=None if candidate is None else candidate.memory.total,
        reason=reason,
    )
