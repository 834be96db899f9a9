"""What a plan did not choose, and why: other layouts of the same size, other sizes."""

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

from scaling.config.run import RunConfig
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

    Of a size chosen for what it serves, other sizes are told by their loss and all their FLOPs.
    """
    found = _layouts(chosen, list(layouts))
    if inference is None:
        return [*found, *_sizes(chosen, list(sizes))]
    return [*found, *_served(chosen, inference)]


def would_help(run: RunConfig, argument_bytes: float, capacity_bytes: float) -> list[str]:
    """What to change so that a step that does not fit takes less memory, cheapest first."""
    helps = []
    remat = getattr(run.model, "remat", "full")
    if remat != "full":
        helps.append("--remat full (computes the forward pass again instead of keeping it)")
    rows = run.train.batch_tokens // run.data.sequence_length // run.train.accumulation
    if rows > (run.mesh.batch_shards() or 1):
        helps.append(f"--accumulation {2 * run.train.accumulation} (half as many sequences at once)")
        helps.append("a smaller --batch-tokens")
    if run.mesh.data > 1:
        helps.append("fsdp in place of data in --mesh (shards parameters and optimizer state too)")
    if argument_bytes > capacity_bytes // 2:
        if run.train.optimizer == "adamw":
            helps.append("--optimizer adafactor (keeps next to no state)")
        helps.append("more devices along fsdp or tensor (parameters and optimizer state take over half)")
    else:
        helps.append("more devices along tensor (splits the activations of a sequence)")
        helps.append("a shorter --length")
    return helps


def wished(chosen: Point, sizes: Iterable[Point]) -> Point | None:
    """The next larger size, where no layout holds it or any beyond: the devices, not the law, decided."""
    larger = [point for point in sizes if point.params > chosen.params]
    if any(point.candidate is not None for point in larger):
        return None
    return min(larger, key=lambda point: point.params, default=None)


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
    return [_size(point, point.reason or _beside(point, chosen, totals[point] / best - 1)) for point in told]


def _beside(point: Point, chosen: Point, share: float) -> str:
    off = point.loss - chosen.loss
    return (
        f"loss {'higher' if off > 0 else 'lower'} by {abs(off):.4f}, "
        f"{'more' if share > 0 else 'fewer'} FLOPs in all by {abs(share):.1%}"
    )


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
