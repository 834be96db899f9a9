"""Points from CSV files, data frames and run directories.

In reading order: `sheet` (bytes to rows of text), `cells` (text to numbers and units), `columns` (which
column is which field), `table` (rows to points), `plausible` (are the units right?), `records` and `curves`
(what runs wrote), `select` (`--where` and `--by`), `comparable` (may these losses be mixed?), `inputs`
(`read_points` and `Sources`: whatever a command was given).
"""

from scaling.laws.read.columns import parse_columns
from scaling.laws.read.comparable import comparable
from scaling.laws.read.curves import Curve, read_curves
from scaling.laws.read.inputs import Sources, read_points
from scaling.laws.read.records import points_from_records, read_records, run_facts

__all__ = [
    "Curve",
    "Sources",
    "comparable",
    "parse_columns",
    "points_from_records",
    "read_curves",
    "read_points",
    "read_records",
    "run_facts",
]
