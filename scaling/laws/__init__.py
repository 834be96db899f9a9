"""Scaling laws: functional forms, fitting, uncertainty and the held-out test. JAX is imported on fitting."""

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
