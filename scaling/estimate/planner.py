"""From a budget to the run that should reach the least loss: its size, its tokens and its layout.

The law predicts the loss of a size and its tokens; the budget gives each size its tokens, by counted FLOPs or
by the speed of the fastest layout that fits; the least predicted loss over a grid of sizes, and then over a
finer one around the best, wins (`Planner.best`). Every number in a plan is of real layer shapes.

With inference tokens the answer is that of Sardana et al. 2024 (arXiv:2401.00448, equation 3): the size with
the least FLOPs of training and inference together at its loss, trained for the entire budget
(`Planner.serving`). It is smaller and trained on more tokens than the size that is best for training
alone, and its loss is a little higher.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable
from functools import cache, cached_property

from scaling.config.devices import Devices, parse_devices
from scaling.config.load import validate
from scaling.config.model import Remat
from scaling.config.run import RunConfig
from scaling.estimate.counts import forward_flops_per_token, train_flops_per_token
from scaling.estimate.layouts import REMATS, Candidate, by_time, fastest, tensor_ways
from scaling.estimate.loss_law import LossLaw
from scaling.estimate.price import Budget
from scaling.estimate.shapes import (
    DecoderShape,
    Sizing,
    batch_rows,
    decoder,
    learning_rate,
    shape_for,
    size_of,
    smallest,
    warmup_steps,
)
from scaling.runtime.errors import BadInputError

_FEWEST_STEPS = 100  # no law of the loss was fitted to shorter runs
_STEP = 2**0.5  # of the grid of sizes
_REACH = 6  # steps of the grid to either side of where the law's closed form puts the optimum
_FURTHER = 12  # most steps beyond the grid
_HALVINGS = 10
_FINER = (0.25, 0.5, 0.75)  # of a step of the grid, around the best
_MOST_TOKENS = 1e40
_USUAL_MFU = 0.4  # first guess
_CHECKPOINT_SECONDS = 1800.0
_EVALUATIONS = 20  # per run
_FITTING = 12  # layouts that fit, to choose from
_SHORT = 512  # sequences of this length are not shortened


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """A size, and the steps, layout and loss that the budget buys; `reason` says why it is not possible."""

    shape: DecoderShape
    params: int  # in the law's counting
    rows: int
    steps: int
    tokens: int
    loss: float
    candidate: Candidate | None  # None where no layout fits
    reason: str | None = None


@dataclasses.dataclass(frozen=True)
class SameLoss:
    """The size that reaches a loss with the least FLOPs of training, by the law and counted FLOPs."""

    params: int
    tokens: float
    train_flops: float
    total_flops: float  # with inference


@dataclasses.dataclass(frozen=True)
class Inference:
    """How the choice of a size changes when it serves so many tokens."""

    tokens: float
    flops: float  # of inference
    train_flops: float
    training_only: PlannedRun  # the choice without inference
    training_only_flops: float  # its FLOPs of training and inference
    same_loss: SameLoss
    others: tuple[tuple[PlannedRun, float], ...]  # sizes trained for the budget, with the sum of their FLOPs

    @property
    def saved(self) -> float:
        """Share of all FLOPs saved over the compute-optimal model of the same loss."""
        return 1 - (self.flops + self.train_flops) / self.same_loss.total_flops


@dataclasses.dataclass(frozen=True)
class Planner:
    """The search for one budget on one set of devices."""

    budget: Budget
    law: LossLaw
    devices: Devices
    vocab_size: int
    length: int

    @cached_property
    def sizing(self) -> Sizing:
        """What the candidates share."""
        return Sizing(self.vocab_size, self.length, self.law.counts)

    @cached_property
    def _layout(self) -> Callable[[DecoderShape, int], tuple[Candidate | None, list[Candidate]]]:
        """The fastest layout of a shape and rows that fits, and the faster ones that do not; cached."""
        return cache(lambda shape, rows: fastest(by_time(self.runs(shape, rows), self.devices, rows)))

    def flops_per_token(self, shape: DecoderShape) -> float:
        """Training FLOPs per token, counted matmul by matmul, causal attention."""
        return train_flops_per_token(decoder(shape, self.sizing), self.length)

    def rows(self, shape: DecoderShape, flops: float) -> int:
        """Sequences per step at a training compute, by the rule and the devices."""
        most = max(tensor_ways(shape.heads, self.devices))
        return batch_rows(flops, self.length, self.devices.count, most)

    def runs(self, shape: DecoderShape, rows: int) -> dict[Remat, RunConfig]:
        """The run under each rematerialisation policy; mesh and budget are not chosen yet."""
        train = {"batch_tokens": rows * self.length, "steps": 1, "learning_rate": 1e-3}
        data = {"sequence_length": self.length}
        return {
            policy: RunConfig.model_validate(
                {"model": decoder(shape, self.sizing, policy), "data": data, "train": train}
            )
            for policy in REMATS
        }

    def layouts(self, point: PlannedRun) -> list[Candidate]:
        """Layouts of a size, fastest first, those that do not fit included; enough to choose from."""
        found: list[Candidate] = []
        for candidate in by_time(self.runs(point.shape, point.rows), self.devices, point.rows):
            found.append(candidate)
            if sum(one.fits for one in found) >= _FITTING:
                break
        return found

    def point(self, shape: DecoderShape, flops: float) -> PlannedRun:
        """The run of a shape that the budget buys, with the batch for a training compute."""
        rows, per_token = self.rows(shape, flops), self.flops_per_token(shape)
        candidate, refused = self._layout(shape, rows)
        step = rows * self.length
        if candidate is not None:
            steps = int(self.budget.tokens(per_token, candidate.slow_tokens_per_second) // step)
        elif self.budget.seconds is None:
            steps = int(self.budget.value / per_token // step)
        else:
            steps = 0  # without a layout there is no speed, so no number of tokens
        return self._planned(shape, rows, steps, candidate, refused)

    def _planned(
        self, shape: DecoderShape, rows: int, steps: int, found: Candidate | None, refused: list[Candidate]
    ) -> PlannedRun:
        params, tokens = size_of(shape, self.sizing), steps * rows * self.length
        reason = None
        if found is None:
            reason = _refused(refused)
        elif steps < _FEWEST_STEPS:
            reason = f"trained for {steps} steps of {rows * self.length:,} tokens only"
        loss = self.law.loss(params, tokens) if tokens else math.inf
        return PlannedRun(shape, params, rows, steps, tokens, loss, found, reason)

    def best(self) -> tuple[PlannedRun, list[PlannedRun]]:
        """The size with the least predicted loss that fits, and every size examined.

        Raises:
            BadInputError: the budget is too small for any model, or none fits.
        """
        flops, least = self._compute(), smallest(self.sizing)
        centre = max(self.law.optimum(flops)[0], least)
        seen: dict[DecoderShape, PlannedRun] = {}

        def look(params: float) -> None:
            shape = shape_for(params, self.sizing)
            if shape not in seen:
                seen[shape] = self.point(shape, flops)

        def chosen() -> PlannedRun | None:
            good = [point for point in seen.values() if point.reason is None]
            return min(good, key=lambda point: (point.loss, point.params), default=None)

        for place in range(-_REACH, _REACH + 1):
            look(centre * _STEP**place)
        if chosen() is None:
            self._bisect(look, seen)
        for _ in range(_FURTHER):  # the speed of layouts may move the optimum off the grid
            best, sizes = chosen(), [point.params for point in seen.values()]
            if best is not None and best.params == min(sizes) > least:
                look(best.params / _STEP)
            elif best is not None and best.params == max(sizes):
                look(best.params * _STEP)
            else:
                break
        best = chosen()
        if best is None:
            raise self._refusal(min(seen.values(), key=lambda point: point.params))
        for share in _FINER:
            look(best.params * _STEP**share)
            look(best.params / _STEP**share)
        best = chosen()
        assert best is not None
        return best, sorted(seen.values(), key=lambda point: point.params)

    def _bisect(self, look: Callable[[float], None], seen: dict[DecoderShape, PlannedRun]) -> None:
        """Bisect between the smallest shape and the grid, where the entire grid is too large."""
        low, high = float(smallest(self.sizing)), float(min(point.params for point in seen.values()))
        look(low)
        for _ in range(_HALVINGS):
            middle = math.sqrt(low * high)
            look(middle)
            good = [point.params for point in seen.values() if point.reason is None]
            low, high = (middle, high) if good and max(good) > 0.9 * middle else (low, middle)

    def _compute(self) -> float:
        """Training FLOPs that the budget buys, roughly: of the best size at the usual utilisation."""
        if self.budget.seconds is None:
            return self.budget.value
        peak = max(self.devices.hardware.peak_flops.values()) * self.devices.chips
        flops = self.budget.seconds * peak * _USUAL_MFU
        target = max(self.law.optimum(flops)[0], smallest(self.sizing))
        shape = shape_for(target, self.sizing)
        while (found := self.point(shape, flops)).candidate is None and found.params > smallest(self.sizing):
            shape = shape_for(found.params / 4, self.sizing)
        return max(found.tokens * self.flops_per_token(shape), 1.0)

    def _refusal(self, least: PlannedRun) -> BadInputError:
        """The error when there is no plan: what the smallest shape needs."""
        if least.candidate is None:
            what = f"the smallest, {least.params:,} parameters, {least.reason}"
            helps = "; ".join(more_room(self.devices, self.length))
            return BadInputError(f"--on {self.devices}: no model fits; {what}; what would help: {helps}")
        shape, per_token, rows = least.shape, self.flops_per_token(least.shape), least.rows
        # More compute needs larger batches, and those more tokens: iterate until both agree.
        while (grown := self.rows(shape, 1.2 * _FEWEST_STEPS * rows * self.length * per_token)) > rows:
            rows = grown
        candidate, _ = self._layout(shape, rows)
        speed = (candidate or least.candidate).slow_tokens_per_second
        needed = 1.05 * self.budget.price(_FEWEST_STEPS * rows * self.length, per_token, speed)
        return BadInputError(
            f"{self.budget.option}: too small for any model: the smallest, {least.params:,} parameters, "
            f"would be {least.reason}, and a plan needs {_FEWEST_STEPS}; "
            f"give at least {_rounded_up(needed):.2g}"
        )

    def serving(self, alone: PlannedRun, tokens: float) -> tuple[PlannedRun, Inference]:
        """The size, trained for the budget, with the least FLOPs of training and inference at its loss.

        Compared with the size that is best for training alone, a smaller one reaches the same loss with fewer
        FLOPs in total; compared with a very small one, a larger one does. The answer is the largest size for
        which no smaller one does.
        """
        flops = alone.tokens * self.flops_per_token(alone.shape)
        points = {0.0: alone}

        def look(place: float) -> PlannedRun:
            if place not in points:
                points[place] = self.point(shape_for(alone.params * _STEP**-place, self.sizing), flops)
            return points[place]

        # Counted FLOPs and the speed of layouts move the optimum off that of 6ND: both sizes are relative
        # to the one that is best for training alone.
        unserved = self._cheapest(alone.loss, 0.0)

        def small_enough(point: PlannedRun) -> bool:
            return point.params / alone.params <= 1.001 * self._cheapest(point.loss, tokens) / unserved

        place = 0.0
        while place < 2 * _REACH and not small_enough(look(place)):
            following = look(place + 1)
            if following.reason is not None or following.params >= look(place).params:
                break
            place += 1
        near = [look(place - share) for share in _FINER if place > 0]
        good = [point for point in near if point.reason is None and small_enough(point)]
        chosen = max([*good, look(place)], key=lambda point: point.params)
        never = [point for point in points.values() if point.reason is not None]
        totals = [
            (point, self._train_flops(point) + self._served(point.shape, tokens))
            for point in dict.fromkeys(points.values())
            if point.reason is None and point != chosen
        ]
        return chosen, Inference(
            tokens=tokens,
            flops=self._served(chosen.shape, tokens),
            train_flops=self._train_flops(chosen),
            training_only=alone,
            training_only_flops=self._train_flops(alone) + self._served(alone.shape, tokens),
            same_loss=self._same_loss(chosen, tokens),
            others=(*((point, math.inf) for point in never), *totals),
        )

    def _train_flops(self, point: PlannedRun) -> float:
        return point.tokens * self.flops_per_token(point.shape)

    def _served(self, shape: DecoderShape, tokens: float) -> float:
        return tokens * forward_flops_per_token(decoder(shape, self.sizing), self.length)

    def _cheapest(self, loss: float, served: float) -> float:
        """N with the least 6 N D(N) + 2 N `served` at a loss (Sardana et al. 2024, equation 3)."""

        def cost(log_params: float) -> float:
            params = math.exp(log_params)
            needed = self.law.tokens_for(params, loss)
            return math.inf if needed > _MOST_TOKENS else params * (6 * needed + 2 * served)

        grid = [math.log(10) * (3 + share / 20) for share in range(20 * 15)]
        best = min(grid, key=cost)
        step = grid[1] - grid[0]
        for _ in range(4):
            step /= 4
            best = min((best + side * step for side in range(-4, 5)), key=cost)
        return math.exp(best)

    def _same_loss(self, chosen: PlannedRun, served: float) -> SameLoss:
        """The compute-optimal size at the loss of `chosen`; `chosen` itself where the law is flat."""
        params = self._cheapest(chosen.loss, 0.0)
        shape = shape_for(max(params, smallest(self.sizing)), self.sizing)
        params = size_of(shape, self.sizing)
        tokens = self.law.tokens_for(params, chosen.loss)
        if tokens > _MOST_TOKENS:
            shape, params, tokens = chosen.shape, chosen.params, float(chosen.tokens)
        trained = tokens * self.flops_per_token(shape)
        return SameLoss(params, tokens, trained, trained + self._served(shape, served))

    def on_layout(self, point: PlannedRun, candidate: Candidate) -> PlannedRun:
        """The same size on another layout, with the tokens that the budget buys on it."""
        if self.budget.seconds is None:
            return dataclasses.replace(point, candidate=candidate)
        bought = self.budget.seconds * candidate.slow_tokens_per_second
        steps = int(bought // (point.rows * self.length))
        return self._planned(point.shape, point.rows, steps, candidate, [])

    def run(self, point: PlannedRun) -> RunConfig:
        """The run for `scaling train`: every field that a plan decides."""
        candidate = point.candidate
        assert candidate is not None
        flops = point.tokens * self.flops_per_token(point.shape)
        seconds = max(candidate.time.seconds, 1e-9)
        run: RunConfig = validate(
            RunConfig,
            {
                "name": f"plan-{size_name(point.params)}",
                "model": decoder(point.shape, self.sizing, candidate.remat).model_dump(),
                "data": {"sequence_length": self.length},
                "train": {
                    "tokens": point.tokens,
                    "batch_tokens": point.rows * self.length,
                    "accumulation": candidate.layout.accumulation,
                    "optimizer": "adamw",
                    "learning_rate": learning_rate(flops),
                    "schedule": "cosine",
                    "warmup_steps": warmup_steps(point.steps),
                    "eval_every": max(1, point.steps // _EVALUATIONS),
                    "checkpoint_every": max(1, min(point.steps, round(_CHECKPOINT_SECONDS / seconds))),
                },
                "mesh": candidate.mesh.sizes(),
            },
            "plan",
        )
        return run


def _refused(candidates: list[Candidate]) -> str:
    """Why no layout fits: by how much the smallest exceeds the memory."""
    if not candidates:
        return "fits in no layout: parameters, gradients and optimizer state alone are too large"
    least = min(candidates, key=lambda one: one.memory.total)
    return f"fits in no layout: {least.shortfall} ({least})"


def more_room(devices: Devices, length: int) -> list[str]:
    """What would let a larger model fit, once every mesh, policy and accumulation has been tried."""
    helps = [f"more devices, for example --on {_more(devices)}", "devices with more memory"]
    if length > _SHORT:
        helps.append(f"shorter sequences, for example --length {length // 2}")
    return helps


def _more(devices: Devices) -> str:
    """Two or four times as many devices in one slice where such a slice exists, else two slices."""
    for times in (2, 4):
        with contextlib.suppress(BadInputError):
            return str(parse_devices(f"{devices.hardware.name}:{times * devices.count}"))
    one, _, _ = str(devices).partition("*")
    return f"{one}*{2 * devices.slices}"


def size_name(params: float) -> str:
    """A size as in a name, with at most three digits: 1.3b, 125m."""
    for unit, letter in ((1e12, "t"), (1e9, "b"), (1e6, "m")):
        if params >= unit:
            return f"{params / unit:.3g}".replace("+", "") + letter
    return f"{params / 1e3:.3g}k"


def _rounded_up(value: float) -> float:
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit) * unit
