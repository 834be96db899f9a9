"""Fitted laws as text: intervals side by side, tests, sensitivity to choices, predictions and allocations."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scaling.api.text.blocks import Block, Table, Text, decimals, table
from scaling.runtime.suggest import plural

if TYPE_CHECKING:
    from scaling.config.compute_cost import ComputeCost
    from scaling.laws import Law
    from scaling.laws.frontier.approaches import Approach
    from scaling.laws.predict import Predicted
    from scaling.laws.sections import Allocation, Averaging, Comparison, Jackknife

_REPLICATES = {
    "seed": "seeds",
    "equal numbers": "replicates (rows of equal numbers; a column seed or dataset would say why)",
}


def law_blocks(law: "Law") -> list[Block]:
    """Everything of a law that fits on a screen."""
    blocks: list[Block] = [
        Text(f"{law.law}: {law.equation}" + ("   [forced]" if law.forced else "")),
        _parameters(law),
        Text(
            f"{law.n_points} points, {law.n_starts_at_best} of {law.n_starts} starts at the best, "
            f"objective {law.objective.value:.6g}, gradient norm {law.gradient_norm:.1e}, "
            f"Huber delta {law.objective.delta:.3g}"
        ),
        Text(f"unidentified: {', '.join(law.unidentified) or 'none'}; N is {law.counting['params']}"),
    ]
    for one in law.limits:
        place = f"{one.parameter} {'infinite' if one.limit is None else f'= {one.limit:g}'}"
        verdict = "fits as well and is reported" if one.adopted else "is not excluded"
        blocks.append(Text(f"limit {place} {verdict}: {one.equation}"))
    if law.hessian is not None:
        condition = _number(law.hessian.condition, ".2g")
        blocks.append(Text(f"condition {condition}, least constrained: {law.hessian.flattest}"))
        if law.hessian.reason and law.hessian.reason not in law.warnings:
            blocks.append(Text(f"no Hessian intervals: {law.hessian.reason}"))
    if law.jackknife is not None:
        blocks.append(Text(_clusters(law.jackknife)))
    if law.averaging is not None:
        blocks.append(Text(_forms(law.averaging)))
    blocks.append(Text(_noise(law)))
    if law.holdout is not None:
        blocks.append(
            Text(
                f"held out: {law.holdout.n} points, mean error {law.holdout.mean_abs_rel_error:.2%}, "
                f"worst {law.holdout.max_abs_rel_error:.2%}"
            )
        )
    if law.rolling:
        blocks.append(_rolling(law))
    blocks += _by_reach(law)
    if law.comparison is not None:
        blocks += comparison_blocks(law.comparison)
    if law.sensitivity:
        blocks.append(_sensitivity(law))
    if law.then is not None:
        blocks += [Text(f"\nthen {law.then.law}: {law.then.equation}"), _parameters(law.then)]
        if law.then.averaging is not None:
            blocks.append(Text(_forms(law.then.averaging)))
        if law.then.rolling:
            blocks.append(_rolling(law.then))
        blocks += _by_reach(law.then)
    if law.loss_unit != "nats per token":
        blocks.append(Text(f"losses are in {law.loss_unit}"))
    blocks += [Text(f"read: {note}") for note in law.notes]
    return blocks + [Text(f"note: {warning}") for warning in law.warnings]


def _number(value: float | None, form: str = ".4g") -> str:
    return "-" if value is None else format(value, form)


def _interval(ends: Sequence[float | None] | None) -> str:
    if ends is None:
        return "-"
    low, high = ends
    if low is None and high is None:
        return "unidentified"
    return f"[{_number(low) if low is not None else 'free'}, {_number(high) if high is not None else 'free'}]"


def _parameters(law: "Law") -> Table:
    """Intervals of each reported quantity by each method; absent columns are left out."""
    names = dict.fromkeys(
        [*law.parameters, *(law.profile or ()), *(law.hessian.intervals if law.hessian else ())]
    )
    if law.cost is not None and law.optimum is not None:  # with an interval of the bootstrap alone
        names |= {"tokens_per_param": None}
    profile, hessian = law.profile or {}, law.hessian.intervals if law.hessian else {}
    jackknife = law.jackknife.intervals if law.jackknife else {}
    rows = []
    for name in names:
        value, bootstrap = law.parameters.get(name), law.intervals.get(name)
        label = name
        if value is None and law.optimum is not None:
            if name == "tokens_per_param":
                flops = law.ranges["flops"][1]
                frontier = law.frontier()
                value = None if frontier is None else float(frontier.tokens(flops) / frontier.params(flops))
                label = f"D/N at {flops:.2g}"
                bootstrap = _ratio_interval(law, flops)
            else:
                value, bootstrap = law.optimum.a, law.optimum.intervals.get("a")
        one = profile.get(name)
        rows.append(
            (
                label,
                _number(value, ".5g"),
                _interval(bootstrap),
                _interval(jackknife.get(name)),
                _interval(one.interval if one else None),
                _interval(hessian.get(name)),
            )
        )
    heads = ("", "value", "95% bootstrap", "95% jackknife", "95% profile", "95% Hessian")
    return table("Parameters", heads, rows)


def _clusters(found: "Jackknife") -> str:
    """How intervals treat points that share runs."""
    if found.reason is not None:
        return f"no jackknife intervals: {found.reason}"
    return (
        f"points of one run share its noise, so intervals are those of {found.runs} runs; the bootstrap "
        "draws runs, and the other methods use Student's t, which is wider with few runs"
    )


def _ratio_interval(law: "Law", flops: float) -> tuple[float, float] | None:
    from scaling.laws.frontier.optimum import allocate

    if law.bootstrap is None:
        return None
    return allocate(law, [flops])[0].tokens_per_param_interval


def _forms(averaging: "Averaging") -> str:
    """What a prediction averages over."""
    shapes: dict[str, float] = {}
    for form in averaging.forms:
        shapes[form.shape] = shapes.get(form.shape, 0.0) + form.weight
    shares = ", ".join(
        f"{name} {share:.0%}" for name, share in sorted(shapes.items(), key=lambda one: -one[1])
    )
    zero = sum(form.weight for form in averaging.forms if form.parameters["floor"] == 0)
    return (
        f"The table shows the likeliest form; predictions average over {len(averaging.forms)} forms by "
        f"likelihood: {shares}; floor of zero {zero:.0%}"
    )


def _noise(law: "Law") -> str:
    """Noise of the residuals, and of runs that differ only in their seed."""
    residual = law.residual_noise
    words = f"residuals {residual:.2%} (robust standard deviation)" if residual else "residuals: none left"
    if not law.logarithmic and residual:
        kind = "averaged over the forms" if law.averaging else "robust standard deviation"
        words = f"residuals {residual:.3g} ({kind})"
    if law.averaging is not None:
        return words
    noise = law.seed_noise
    seeds = (
        f"{_REPLICATES[noise.by]} {noise.std_log_loss:.2%} ({noise.n_sets} sets, {noise.n_points} points)"
        if noise
        else "seed noise unknown: no runs differ only in their seed"
    )
    test = law.lack_of_fit
    if test is None or test.p is None:
        return f"{words}; {seeds}"
    return f"{words}; {seeds}; lack of fit F({test.dof}, {test.pure_dof}) = {test.f:.2f}, p = {test.p:.2g}"


def _rolling(law: "Law") -> Table:
    rows = [
        (
            f"{cut.flops:.2e}",
            f"{cut.extrapolation:.3g}x",
            str(cut.n_fitted),
            str(cut.n),
            f"{cut.mean_abs_rel_error:.2%}",
            f"{cut.max_abs_rel_error:.2%}",
            "-" if cut.inside is None else f"{cut.inside:.0%}",
        )
        for cut in law.rolling or ()
    ]
    heads = ("fitted below", "reach", "fitted", "predicted", "mean error", "worst", "inside 95%")
    return table("Rolled hold-out", heads, rows)


def _by_reach(law: "Law") -> list[Block]:
    """Errors of the rolled hold-out by reach, and their growth."""
    found = law.rolling_by_reach
    if found is None or not found.bins:
        return []
    rows = [
        (
            f"{one.low:g}-{one.high:g}x" if one.high is not None else f"above {one.low:g}x",
            str(one.n_points),
            str(one.n_runs),
            f"{one.mean_abs_rel_error:.2%}",
            "-" if one.expected_abs_rel_error is None else f"{one.expected_abs_rel_error:.2%}",
            f"{one.mean_rel_error:+.2%}",
            "-" if one.standard_error is None else f"{one.standard_error:.2%}",
            "-" if one.inside is None else f"{one.inside:.0%}",
        )
        for one in found.bins
    ]
    heads = ("reach", "points", "runs", "mean error", "expected", "bias", "s.e.", "inside 95%")
    growth = "" if found.growth is None else f"{found.growth:+.2%}"
    error = "" if found.growth_error is None else f" (standard error {found.growth_error:.2%})"
    return [
        table("Errors by reach, each point once", heads, rows),
        Text(
            f"bias per factor of 10 beyond the data: {growth}{error}"
            + (
                "; intervals of predictions are widened by it"
                if law.method is not None or law.averaging is not None
                else ""
            )
        ),
    ]


def comparison_blocks(found: "Comparison") -> list[Block]:
    """Laws by their rolled errors, and predictions of their average."""
    rows = [
        (
            one.law,
            str(one.n_parameters),
            "-" if one.rms is None else f"{one.rms:.2%}",
            "-" if one.se is None else f"{one.se:.2%}",
            {None: "-", True: "yes", False: "no"}[one.alike],
            _number(one.aicc, ".1f"),
            _number(one.weight, ".2f"),
        )
        for one in found.laws
    ]
    heads = ("law", "parameters", "rolled error", "se", "as good", "AICc", "weight")
    blocks: list[Block] = [table("Laws by rolled error", heads, rows)]
    if found.reason is not None:
        blocks.append(Text(f"not compared: {found.reason}; {found.chosen} is fitted"))
    else:
        blocks.append(
            Text(
                f"{plural(found.n_runs, 'run')} predicted from "
                f"{plural(found.n_cut_offs, 'cut-off')} of compute; {found.chosen} is the simplest law "
                "within one standard error of the best"
            )
        )
    blocks += [Text(f"{name} is left out: {reason}") for name, reason in found.refused.items()]
    for one in found.predictions:
        place = ", ".join(f"{name} {value:.3g}" for name, value in one.at.items())
        digits = decimals(one.interval, one.value)
        each = ", ".join(f"{name} {value:.{digits}f}" for name, value in one.values.items())
        value = _with_ends(one.value, one.interval, digits)
        blocks.append(Text(f"average of the laws at {place}: {value} ({each})"))
    return blocks


def _sensitivity(law: "Law") -> Table:
    names = list(law.parameters)
    rows = []
    for row in law.sensitivity or ():
        if row.refused is not None:
            rows.append((row.change, str(row.n), *["-"] * (len(names) + 2)))
            continue
        rows.append(
            (
                row.change,
                str(row.n),
                *(_number(row.parameters[name]) for name in names),
                _number(row.a, ".3f"),
                _number(row.prediction, ".4f"),
            )
        )
    first = (law.sensitivity or ())[0]
    place = ", ".join(f"{name} {value:.2g}" for name, value in first.at.items())
    target = law.form.target
    where = f"{target} at 10x" if "flops" in first.at and law.optimum else f"{target} beyond"
    return table(f"Sensitivity ({target} at {place})", ("change", "n", *names, "a", where), rows)


def prediction_blocks(one: "Predicted") -> list[Block]:
    """A prediction, rounded to what its interval says is known, and how far it is beyond the data."""
    place = ", ".join(f"{name} {value:.3g}" for name, value in one.at.items())
    digits = decimals(one.widened or one.interval, one.value)
    rows = []
    if one.loss:
        ends = one.loss.widened
        rows.append(("loss", _with_ends(one.loss.value, ends, decimals(ends, one.loss.value))))
    rows.append((one.target, _with_ends(one.value, one.widened, digits)))
    if one.method and one.widened:
        rows.append(("", f"95% interval of the law, {one.method}"))
    if one.widening:
        rows.append(("", one.widening))
    if one.widened_run:
        low, high = one.widened_run
        rows.append(("one run", f"[{low:.{digits}f}, {high:.{digits}f}], with the noise of a run"))
    if one.accuracy:
        rows.append(("accuracy", _with_ends(one.accuracy.value, one.accuracy.widened, digits)))
    width = max(len(name) for name, _ in rows)
    blocks: list[Block] = [Text(f"Prediction at {place}")]
    blocks += [Text(f"  {name:{width}}  {text}") for name, text in rows]
    if one.reach:
        blocks.append(Text(("warning: " if one.reach.far else "note: ") + one.reach.text))
    return blocks


def _with_ends(value: float, ends: Sequence[float] | None, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text if ends is None else f"{text} [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"


def allocation_blocks(rows: Sequence["Allocation"], cost: "ComputeCost | None" = None) -> list[Block]:
    """How the law would spend training computes; `cost` is c(N) where these are not 6ND."""
    cells = [
        (
            f"{row.flops:.2e}",
            f"{row.params:.3g}",
            _interval(row.params_interval),
            f"{row.tokens:.3g}",
            f"{row.tokens_per_param:.3g}",
            _interval(row.tokens_per_param_interval),
            f"{row.loss:.4f}",
            _interval(row.loss_widened),
        )
        for row in rows
    ]
    heads = ("FLOPs", "params", "95%", "tokens", "D/N", "95%", "loss", "95% of loss")
    blocks: list[Block] = [table("Compute-optimal allocation", heads, cells)]
    if cost is not None:
        blocks.append(Text(cost_note(cost, [row.params for row in rows])))
    for row in rows:
        if row.reach is not None and row.reach.far:
            blocks.append(Text(f"warning: {row.flops:.3g} FLOPs is {row.reach.text}"))
        if row.widening:
            blocks.append(Text(f"loss at {row.flops:.3g} FLOPs: {row.widening}"))
    return blocks


def cost_note(cost: "ComputeCost", sizes: Sequence[float]) -> str:
    """How well the FLOPs per token c(N) are known at some sizes."""
    low, high = cost.sizes
    text = (
        f"compute is c(N) D: c(N) is fitted to sizes from {low:.3g} to {high:.3g}, within "
        f"{100 * cost.max_rel_error:.2g}%"
    )
    if min(sizes) < low or max(sizes) > high:
        return f"note: {text}, and extrapolated as a power law beyond them"
    return f"note: {text}"


def approaches_blocks(found: Sequence["Approach"]) -> list[Block]:
    """Exponents, N_opt and D_opt by each approach, and why one has none."""
    rows = [
        (
            one.name,
            _number(one.a, ".3f"),
            _interval(one.a_interval),
            _number(one.b, ".3f"),
            _interval(one.b_interval),
            str(one.n) if one.refused is None else "-",
        )
        for one in found
    ]
    blocks: list[Block] = [table("Approaches to N_opt = k C^a", ("", "a", "95%", "b", "95%", "n"), rows)]
    optima = [
        (
            one.name,
            f"{place.flops:.2e}",
            f"{place.params:.3g}",
            _interval(place.params_interval),
            f"{place.tokens:.3g}",
            _interval(place.tokens_interval),
        )
        for one in found
        for place in one.at
    ]
    if optima:
        heads = ("", "FLOPs", "N_opt", "95%", "D_opt", "95%")
        blocks.append(table("Optimum at the largest compute of the data and at 10x", heads, optima))
    for one in found:
        notes = (f"refused: {one.refused}",) if one.refused else one.notes
        blocks += [Text(f"{one.name}: {note}") for note in notes]
    return blocks


def exponents_blocks(column: str, rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    """The parameters and exponents of the laws of a column's values, side by side."""
    names = next((list(row["parameters"]) for row in rows if row["parameters"]), [])
    optimum = any(row["a"] is not None for row in rows)
    cells = []
    for row in rows:
        values, ends = row["parameters"] or {}, row["intervals"] or {}
        line = [row["value"] or "(empty)", str(row["n_points"])]
        for name in names:
            interval = f" {_interval(ends[name])}" if name in ends else ""
            line.append(_number(values.get(name)) + interval)
        if optimum:
            interval = f" {_interval(row['a_interval'])}" if row["a_interval"] else ""
            line.append(_number(row["a"], ".3f") + interval)
        cells.append(tuple(line))
    heads = (column, "points", *names, *(("a",) if optimum else ()))
    refused = [
        Text(f"{row['value'] or '(empty)'}: no law: {row['refused']}") for row in rows if row["refused"]
    ]
    return [table(f"One law for each {column}", heads, cells), *refused]
