"""A fitted law for a person: its intervals side by side, its tests, and what it owes to choices."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from scaling.tables import show, table

if TYPE_CHECKING:
    from scaling.laws import LawFit
    from scaling.laws.approaches import Approach
    from scaling.laws.law import Allocation

_REPLICATES = {
    "seed": "seeds",
    "equal numbers": "replicates (rows of equal numbers; a column seed or dataset would tell why)",
}


def print_law(law: "LawFit") -> None:
    """Everything of a law that fits on a screen."""
    typer.echo(f"{law.law}: {law.equation}" + ("   [forced]" if law.forced else ""))
    show(_parameters(law))
    typer.echo(
        f"{law.n_points} points, {law.n_starts_at_best} of {law.n_starts} starts at the best, "
        f"objective {law.objective.value:.6g}, gradient norm {law.gradient_norm:.1e}"
    )
    typer.echo(f"at a bound: {', '.join(law.boundary_hits) or 'none'}; N is {law.counting['params']}")
    if law.hessian is not None:
        typer.echo(f"condition {_number(law.hessian.condition, '.2g')}, least held: {law.hessian.flattest}")
        if law.hessian.reason:
            typer.echo(f"no Hessian intervals: {law.hessian.reason}")
    _noise(law)
    if law.holdout is not None:
        typer.echo(
            f"held out: {law.holdout.n} points, mean error {law.holdout.mean_abs_rel_error:.2%}, "
            f"worst {law.holdout.max_abs_rel_error:.2%}"
        )
    if law.rolling:
        show(_rolling(law))
    if law.sensitivity:
        show(_sensitivity(law))
    for warning in law.warnings:
        typer.echo(f"note: {warning}")


def _number(value: float | None, form: str = ".4g") -> str:
    return "-" if value is None else format(value, form)


def _interval(ends: Sequence[float | None] | None) -> str:
    if ends is None:
        return "-"
    low, high = ends
    if low is None and high is None:
        return "unidentified"
    return f"[{_number(low) if low is not None else 'free'}, {_number(high) if high is not None else 'free'}]"


def _parameters(law: "LawFit") -> Any:
    """Bootstrap, profile and Hessian intervals of each reported quantity; absent columns are left out."""
    names = dict.fromkeys(
        [*law.parameters, *(law.profile or ()), *(law.hessian.intervals if law.hessian else ())]
    )
    profile, hessian = law.profile or {}, law.hessian.intervals if law.hessian else {}
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
                _interval(one.interval if one else None),
                _interval(hessian.get(name)),
            )
        )
    return table("Parameters", ("", "value", "95% bootstrap", "95% profile", "95% Hessian"), rows)


def _ratio_interval(law: "LawFit", flops: float) -> tuple[float, float] | None:
    from scaling.laws.allocation import allocate

    if law.bootstrap is None:
        return None
    return allocate(law, [flops])[0].tokens_per_param_interval


def _noise(law: "LawFit") -> None:
    residual = law.hessian.residual_noise if law.hessian else None
    words = f"residuals {residual:.2%} (robust standard deviation)" if residual else "residuals: none left"
    if law.objective.name.find("log") < 0 and residual:
        words = f"residuals {residual:.3g} (robust standard deviation)"
    noise = law.seed_noise
    seeds = (
        f"{_REPLICATES[noise.by]} {noise.std_log_loss:.2%} ({noise.n_sets} sets, {noise.n_points} points)"
        if noise
        else "seed noise unknown: no runs differ only in their seed"
    )
    typer.echo(f"{words}; {seeds}")


def _rolling(law: "LawFit") -> Any:
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


def _sensitivity(law: "LawFit") -> Any:
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


def print_allocations(rows: Sequence["Allocation"]) -> None:
    """What the law would do with training computes."""
    show(
        table(
            "Compute-optimal allocation",
            ("FLOPs", "params", "95%", "tokens", "D/N", "95%", "loss", "95%"),
            [
                (
                    f"{row.flops:.2e}",
                    f"{row.params:.3g}",
                    _interval(row.params_interval),
                    f"{row.tokens:.3g}",
                    f"{row.tokens_per_param:.3g}",
                    _interval(row.tokens_per_param_interval),
                    f"{row.loss:.4f}",
                    _interval(row.loss_interval),
                )
                for row in rows
            ],
        )
    )


def print_approaches(found: Sequence["Approach"]) -> None:
    """Exponents of N_opt and D_opt by each approach, and why one has none."""
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
    show(table("Approaches to N_opt = k C^a", ("", "a", "95%", "b", "95%", "n"), rows))
    for one in found:
        for note in (f"refused: {one.refused}",) if one.refused else one.notes:
            typer.echo(f"{one.name}: {note}")
