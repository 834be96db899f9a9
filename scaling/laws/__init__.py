"""Scaling laws: what a form is, how it is fitted, and how far the fit can be trusted.

Read in this order:

    points, read/     finished training budgets, and their readers (CSV files, directories of runs)
    forms/            functional forms: a sum of powers is a table of terms; `forms.laws` lists every law
    solving/          the objective, `Problem` (points, form, objective), the batched solver, the best fit
    uncertainty/      bootstrap, noise, curvature, profiles, limits, hold-outs, sensitivity of a `BestFit`
    frontier/         compute-optimal allocation: isoFLOP groups and minima, envelope, projection, law
    downstream/       the error of tasks as a function of loss, averaged over forms by evidence
    sections, law     law.json: its parts, and `Law`, the fitted law
    fit, predict      the entry points: `fit_points`, and what a law predicts at a point
    emergence/        whether an ability appears suddenly

JAX is imported only when a law is fitted.
"""

from typing import TYPE_CHECKING, Any

from scaling.laws.forms.critical_batch import CriticalBatch
from scaling.laws.forms.form import Form
from scaling.laws.forms.laws import LAWS
from scaling.laws.law import Law, read_law
from scaling.laws.points import Points
from scaling.laws.predict import Chain
from scaling.laws.read import points_from_records, read_points, read_records
from scaling.laws.read.columns import parse_columns
from scaling.laws.uncertainty.holdout import holdout_groups, holdout_mask

if TYPE_CHECKING:
    from scaling.laws.fit import fit_points

__all__ = [
    "LAWS",
    "Chain",
    "CriticalBatch",
    "Form",
    "Law",
    "Points",
    "fit_points",
    "holdout_groups",
    "holdout_mask",
    "parse_columns",
    "points_from_records",
    "read_law",
    "read_points",
    "read_records",
]


def __getattr__(name: str) -> Any:
    if name == "fit_points":
        from scaling.laws.fit import fit_points

        return fit_points
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
