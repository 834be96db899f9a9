"""From a budget to the run that should reach the least loss: how large, how long, laid out how.

The law says what a size and its tokens reach; the budget says how many tokens a size gets, by counted FLOPs
or by the speed of the fastest layout that fits; the least predicted loss over a grid of sizes, then over a
finer one around the best, wins. `Planner.plan` answers; every number in a plan is of real layer shapes.

With tokens of inference the answer is that of Sardana et al. 2024 (arXiv:2401.00448, equation 3): at the loss
that the budget alone would reach, the size with the least FLOPs of training and inference together. It is
smaller and trained longer, and so its training alone takes more than the budget.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import cached_property

from scaling.config.devices import Devices
from scaling.config.errors import BadInputError
from scaling.config.load import validate
from scaling.config.model import Remat
from scaling.config.run import RunConfig
from scaling.estimate.budget import Budget
from scaling.estimate.flops import forward_flops_per_token, train_flops_per_token
from scaling.estimate.layouts import Candidate, by_time, fastest, tensor_ways
from scaling.estimate.loss_law import LossLaw
from scaling.estimate.shapes import Shape, Sizing, decoder, shape_for, size_of, smallest
from scaling.estimate.training_rules import batch_rows, learning_rate, warmup_steps

_FEWEST_STEPS = 100  # fewer, and no law of the loss was ever fitted to the like
_STEP = 2**0.5  # of the grid of sizes
_REACH = 6  # steps of the grid to either side of where the law's closed form puts the optimum
_FURTHER = 12  # steps beyond the grid, at most
_HALVINGS = 10
_FINER = (0.25, 0.5, 0.75)  # of a step of the grid, around the best
_MOST_TOKENS = 1e40
_USUAL_MFU = 0.4  # to begin with
_CHECKPOINT_SECONDS = 1800.0
_EVALUATIONS = 20  # in a run


@dataclasses.dataclass(frozen=True)
class Point:
    """A size with what the budget buys of it; `reason` says why it cannot be had."""

    shape: Shape
    params: int  # in the law's counting
    rows: int
    steps: int
    tokens: int
    loss: float
    candidate: Candidate | None  # None where no layout fits
    reason: str | None = None


@dataclasses.dataclass(frozen=True)
class Inference:
    """What serving so many tokens does to the choice of a size."""

    tokens: float
    flops: float  # of inference
    train_flops: float
    alone: Point  # what the training budget alone would choose
    alone_total_flops: float
    others: tuple[tuple[Point, float], ...]  # sizes that were looked at, with all their FLOPs

    @property
    def saved(self) -> float:
        """Share of all FLOPs that the smaller model saves."""
        return 1 - (self.flops + self.train_flops) / self.alone_total_flops


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
    def _fastest(self) -> dict[tuple[Shape, int], tuple[Candidate | None, list[Candidate]]]:
        """Answers of `_layout`."""
        return {}

    def _layout(self, shape: Shape, rows: int) -> tuple[Candidate | None, list[Candidate]]:
        """The fastest layout that fits, and the faster ones that do not."""
        if (shape, rows) not in self._fastest:
            self._fastest[shape, rows] = fastest(by_time(self.runs(shape, rows), self.devices, rows))
        return self._fastest[shape, rows]

    def flops_per_token(self, shape: Shape) -> float:
        """Training FLOPs a token, counted matmul by matmul, causal attention."""
        return train_flops_per_token(decoder(shape, self.sizing), self.length)

    def rows(self, shape: Shape, flops: float) -> int:
        """Sequences a step at a training compute, as the rule and the devices have it."""
        most = max(tensor_ways(shape.heads, self.devices))
        return batch_rows(flops, self.length, self.devices.count, most)

    def runs(self, shape: Shape, rows: int) -> dict[Remat, RunConfig]:
        """The run under each policy of rematerialisation; mesh and budget are still open."""
        policies: tuple[Remat, ...] = ("none", "dots", "full")
        train = {"batch_tokens": rows * self.length, "steps": 1, "learning_rate": 1e-3}
        data = {"sequence_length": self.length}
        return {
            policy: RunConfig.model_validate(
                {"model": decoder(shape, self.sizing, policy), "data": data, "train": train}
            )
            for policy in policies
        }

    def layouts(self, point: Point) -> "list[Candidate]":
        """Layouts of a size, fastest first, the ones that do not fit among them; enough to choose from."""
        found: list[Candidate] = []
        fitting = 0
        for candidate in by_time(self.runs(point.shape, point.rows), self.devices, point.rows):
            found.append(candidate)
            fitting += candidate.fits
            if fitting >= 12:
                break
        return found

    def point(self, shape: Shape, flops: float, tokens: float | None = None) -> Point:
        """What the budget buys of a shape, at the batch of a compute; or the shape trained on `tokens`."""
        rows, per_token = self.rows(shape, flops), self.flops_per_token(shape)
        candidate, refused = self._layout(shape, rows)
        step = rows * self.length
        if tokens is not None:
            steps = math.ceil(tokens / step)
        elif candidate is not None:
            steps = int(self.budget.tokens(per_token, candidate.tokens_per_second) // step)
        elif self.budget.seconds is None:
            steps = int(self.budget.value / per_token // step)
        else:
            steps = 0  # without a layout there is no speed, and so no number of tokens
        return self._trained(shape, rows, steps, candidate, refused)

    def _trained(
        self, shape: Shape, rows: int, steps: int, candidate: Candidate | None, refused: list[Candidate]
    ) -> Point:
        params, tokens = size_of(shape, self.sizing), steps * rows * self.length
        reason = None
        if candidate is None:
            reason = _refused(refused)
        elif steps < _FEWEST_STEPS:
            reason = f"trained for {steps} steps of {rows * self.length:,} tokens only"
        loss = self.law.loss(params, tokens) if tokens else math.inf
        return Point(shape, params, rows, steps, tokens, loss, candidate, reason)

    def best(self) -> tuple[Point, list[Point]]:
        """The size with the least predicted loss that fits, and all sizes that were looked at.

        Raises:
            BadInputError: the budget is too small for any model, or none fits.
        """
        flops, least = self._compute(), smallest(self.sizing)
        centre = max(self.law.optimum(flops)[0], least)
        seen: dict[Shape, Point] = {}

        def look(params: float) -> None:
            shape = shape_for(params, self.sizing)
            if shape not in seen:
                seen[shape] = self.point(shape, flops)

        def chosen() -> Point | None:
            good = [point for point in seen.values() if point.reason is None]
            return min(good, key=lambda point: (point.loss, point.params), default=None)

        for place in range(-_REACH, _REACH + 1):
            look(centre * _STEP**place)
        if chosen() is None:
            self._largest_that_can_be_had(look, seen)
        for _ in range(_FURTHER):  # the speed of layouts may pull the optimum off the grid
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

    def _largest_that_can_be_had(self, look: Callable[[float], None], seen: dict[Shape, Point]) -> None:
        """Halve the way from the smallest shape to the grid, where all are too large."""
        low, high = float(smallest(self.sizing)), float(min(point.params for point in seen.values()))
        look(low)
        for _ in range(_HALVINGS):
            middle = math.sqrt(low * high)
            look(middle)
            good = [point.params for point in seen.values() if point.reason is None]
            low, high = (middle, high) if good and max(good) > 0.9 * middle else (low, middle)

    def _compute(self) -> float:
        """Training FLOPs that the budget buys, about: of the size that is best at the usual utilisation."""
        if self.budget.seconds is None:
            return self.budget.value
        peak = max(self.devices.hardware.peak_flops.values()) * self.devices.chips
        flops = self.budget.seconds * peak * _USUAL_MFU
        target = max(self.law.optimum(flops)[0], smallest(self.sizing))
        shape = shape_for(target, self.sizing)
        while (found := self.point(shape, flops)).candidate is None and found.params > smallest(self.sizing):
            shape = shape_for(found.params / 4, self.sizing)
        return max(found.tokens * self.flops_per_token(shape), 1.0)

    def _refusal(self, least: Point) -> BadInputError:
        """Why there is no plan, in one line, from the smallest shape."""
        if least.candidate is None:
            what = f"the smallest, {least.params:,} parameters, {least.reason}"
            return BadInputError(f"--on {self.devices}: no model fits; {what}")
        shape, per_token, rows = least.shape, self.flops_per_token(least.shape), least.rows
        # More compute asks for larger batches, and those for more tokens: up to where both agree.
        while (grown := self.rows(shape, 1.2 * _FEWEST_STEPS * rows * self.length * per_token)) > rows:
            rows = grown
        candidate, _ = self._layout(shape, rows)
        speed = (candidate or least.candidate).tokens_per_second
        needed = 1.05 * self.budget.price(_FEWEST_STEPS * rows * self.length, per_token, speed)
        return BadInputError(
            f"{self.budget.option}: too small for any model: the smallest, {least.params:,} parameters, "
            f"would be {least.reason}, and a plan needs {_FEWEST_STEPS}; "
            f"give at least {_rounded_up(needed):.2g}"
        )

    def serving(self, alone: Point, tokens: float) -> tuple[Point, Inference]:
        """The size with the least FLOPs of training and of inference at the loss of `alone`."""
        totals: dict[float, tuple[float, Point]] = {}
        never: list[Point] = []

        def served(shape: Shape) -> float:
            return tokens * forward_flops_per_token(decoder(shape, self.sizing), self.length)

        def look(place: float) -> None:
            shape = shape_for(alone.params * _STEP**-place, self.sizing)
            params = size_of(shape, self.sizing)
            needed = self.law.tokens_for(params, alone.loss)
            if needed > _MOST_TOKENS:
                reason = f"never reaches a loss of {alone.loss:.4f}, however long it is trained"
                never.append(Point(shape, params, 0, 0, 0, math.inf, None, reason))
            if needed > _MOST_TOKENS or shape == alone.shape:
                return
            point = self.point(shape, needed * self.flops_per_token(shape), needed)
            if point.reason is None:
                total = point.tokens * self.flops_per_token(shape) + served(shape)
                totals[place] = total, point

        alone_total = alone.tokens * self.flops_per_token(alone.shape) + served(alone.shape)
        for place in range(1, 2 * _REACH + 1):
            look(place)
        if totals:
            near = min(totals, key=lambda at: totals[at][0])
            for share in _FINER:
                look(near - share)
                look(near + share)
        others = list(totals.values())
        total, chosen = min(others, default=(math.inf, alone), key=lambda one: one[0])
        if total >= alone_total:
            chosen = alone
        return chosen, Inference(
            tokens=tokens,
            flops=served(chosen.shape),
            train_flops=chosen.tokens * self.flops_per_token(chosen.shape),
            alone=alone,
            alone_total_flops=alone_total,
            others=(*((point, math.inf) for point in never), *((point, flops) for flops, point in others)),
        )

    def laid_out(self, point: Point, candidate: Candidate, fixed_tokens: bool = False) -> Point:
        """The same size on another layout, with the tokens that the budget buys there."""
        if fixed_tokens or self.budget.seconds is None:
            return dataclasses.replace(point, candidate=candidate)
        bought = self.budget.seconds * candidate.tokens_per_second
        steps = int(bought // (point.rows * self.length))
        return self._trained(point.shape, point.rows, steps, candidate, [])

    def run(self, point: Point) -> RunConfig:
        """The run that `scaling train` takes: every field that a plan decides."""
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
    """Why no layout fits, by the one that needs the least."""
    if not candidates:
        return "fits in no layout: parameters, gradients and optimizer state alone are too large"
    least = min(candidates, key=lambda one: one.memory.total)
    return f"fits in no layout: {over(least)} ({least})"


def over(candidate: Candidate) -> str:
    """By how much a layout is too large."""
    return f"does not fit by {(candidate.memory.total - candidate.room) / 2**30:.2f} GiB"


def size_name(params: float) -> str:
    """1.3b, 125m: three digits at most."""
    for unit, letter in ((1e12, "t"), (1e9, "b"), (1e6, "m")):
        if params >= unit:
            return f"{params / unit:.3g}".replace("+", "") + letter
    return f"{params / 1e3:.3g}k"


def _rounded_up(value: float) -> float:
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit) * unit
