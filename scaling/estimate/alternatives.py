"""What a plan rejects, and why: other layouts of the same size, other sizes."""

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

from scaling.estimate.layouts import MARGIN, Candidate
from scaling.estimate.planner import Inference, PlannedRun

_FASTER = 2  # layouts listed that would be faster and do not fit
_SLOWER = 2
_SIZES = (0.25, 0.5, 2.0, 4.0)  # sizes listed, relative to the chosen one


@dataclasses.dataclass(frozen=True)
class Alternative:
    """A rejected layout or size. Parameters are in the law's counting; unknown is null."""

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
    chosen: PlannedRun,
    layouts: Iterable[Candidate],
    sizes: Iterable[PlannedRun],
    inference: Inference | None = None,
) -> list[Alternative]:
    """Faster layouts that do not fit, slower ones that do, and sizes near the chosen one.

    For a size chosen for inference, other sizes are compared by loss and by the sum of FLOPs.
    """
    found = _layouts(chosen, list(layouts))
    if inference is None:
        return [*found, *_sizes(chosen, list(sizes))]
    return [*found, *_served_sizes(chosen, inference)]


def too_large_for_devices(chosen: PlannedRun, sizes: Iterable[PlannedRun]) -> PlannedRun | None:
    """The next larger size, where neither it nor any beyond fits: the devices limit the plan, not the law."""
    larger = [one for one in sizes if one.params > chosen.params]
    if any(one.candidate is not None for one in larger):
        return None
    return min(larger, key=lambda one: one.params, default=None)


def _layouts(chosen: PlannedRun, layouts: list[Candidate]) -> list[Alternative]:
    best = chosen.candidate
    assert best is not None
    # For each mesh and policy, the refused layout with the most accumulation: it came nearest to fitting.
    refused = {(str(one.mesh), one.remat): one for one in layouts if not one.fits}
    faster = [one for one in refused.values() if one.time.seconds <= best.time.seconds]
    slower = [one for one in layouts if one.fits and one.layout != best.layout]
    listed = [(one, f"{one.shortfall} with {MARGIN:.0%} left free") for one in _various(faster, _FASTER)]
    for one in _various(slower, _SLOWER):
        share = one.time.seconds / best.time.seconds - 1
        listed.append((one, f"slower by {share:.1%}" if share >= 5e-4 else "as fast, to 0.05%"))
    return [_alternative("layout", chosen.params, one, reason) for one, reason in listed]


def _various(candidates: list[Candidate], most: int) -> list[Candidate]:
    """The first of each rematerialisation policy, then the first of the rest."""
    first: dict[str, Candidate] = {}
    for one in candidates:
        first.setdefault(one.remat, one)
    rest = [one for one in candidates if one not in first.values()]
    return [*first.values(), *rest][:most]


def _served_sizes(chosen: PlannedRun, inference: Inference) -> list[Alternative]:
    totals = dict(inference.others) | {inference.training_only: inference.training_only_flops}
    totals.pop(chosen, None)
    best = inference.flops + inference.train_flops
    listed = _near(chosen, list(totals))
    if inference.training_only in totals and inference.training_only not in listed:
        listed.append(inference.training_only)
    return [_size(one, one.reason or _compared(one, chosen, totals[one] / best - 1)) for one in listed]


def _compared(one: PlannedRun, chosen: PlannedRun, share: float) -> str:
    off = one.loss - chosen.loss
    return (
        f"loss {'higher' if off > 0 else 'lower'} by {abs(off):.4f}, "
        f"{'more' if share > 0 else 'fewer'} FLOPs in all by {abs(share):.1%}"
    )


def _near(chosen: PlannedRun, others: list[PlannedRun]) -> list[PlannedRun]:
    """The sizes nearest to a quarter, half, twice and four times the chosen one."""
    listed: list[PlannedRun] = []
    for ratio in _SIZES:
        near = min(others, key=lambda one: abs(one.params / (ratio * chosen.params) - 1), default=None)
        if near and near not in listed and 0.6 < near.params / (ratio * chosen.params) < 1.7:
            listed.append(near)
    return listed


def _sizes(chosen: PlannedRun, sizes: list[PlannedRun]) -> list[Alternative]:
    others = [one for one in sizes if one.shape != chosen.shape]
    listed = _near(chosen, others)
    # The size that the law prefers and the devices cannot hold matters most to a reader.
    preferred = [one for one in others if one.reason is not None and one.loss < chosen.loss]
    if preferred:
        listed.append(min(preferred, key=lambda one: one.loss))
    return [
        _size(one, one.reason or f"loss higher by {one.loss - chosen.loss:.4f}")
        for one in dict.fromkeys(listed)
    ]


def _size(one: PlannedRun, reason: str) -> Alternative:
    found = _alternative("size", one.params, one.candidate, reason)
    return dataclasses.replace(found, tokens=one.tokens or None, loss=one.loss if one.tokens else None)


def _alternative(
    what: Literal["layout", "size"], params: int, candidate: Candidate | None, reason: str
) -> Alternative:
    return Alternative(
        what=what,
        params=params,
        tokens=None,
        loss=None,
        mesh=None if candidate is None else candidate.mesh.sizes(),
        remat=None if candidate is None else candidate.remat,
        accumulation=None if candidate is None else candidate.layout.accumulation,
        step_seconds=None if candidate is None else candidate.time.seconds,
        memory_bytes=None if candidate is None else candidate.memory.total,
        reason=reason,
    )
