"""Sudden abilities or sharp metrics: `emergence`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.api.arguments import ColumnNames, Names, Rows, names_of, shots_of, where_of
from scaling.api.results import TableResult
from scaling.api.text.blocks import Block, Text
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from pandas import DataFrame

    from scaling.laws.emergence.document import Emergence


@dataclass(frozen=True, repr=False)
class EmergenceVerdicts(TableResult):
    """Whether scores jump with scale. `document` holds a verdict per task, metric and number of examples; the
    table has a row for each."""

    document: "Emergence"

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        return self.document.model_dump(mode="json")

    def rows(self) -> list[dict[str, Any]]:  # noqa: D102
        names = ("task", "metric", "shots", "size", "n_points", "word", "form", "course", "mean_score")
        rows = []
        for verdict in self.document.verdicts:
            row = {name: getattr(verdict, name) for name in names}
            for name in ("half_rise", "changepoint"):
                place = getattr(verdict, name)
                row[name] = None if place is None else place.value
                row[f"{name}_low"], row[f"{name}_high"] = (None, None) if place is None else place.interval
            for name in ("delta_aicc", "delta_cv", "p_value", "q_value", "break_bound"):
                row[name] = getattr(verdict, name)
            rows.append(row | {"foreseen": verdict.foresight.foreseen, "why": verdict.why})
        return rows

    def blocks(self) -> list[Block]:  # noqa: D102
        from scaling.api.text.emergence import summary

        return [Text(line) for line in summary(self.document)]

    def evidence(self) -> list[Block]:
        """The table behind the verdicts: what `scaling emergence --full` prints below them."""
        from scaling.api.text.emergence import full_table

        return full_table(self.document)


def emergence(
    source: "str | Path | DataFrame",
    *,
    against: str | None = None,
    tasks: Names = None,
    shots: int | Sequence[int] | str | None = None,
    metrics: Names = None,
    params: str = "non_embedding_with_head",
    where: Rows = None,
    force: bool = False,
    columns: ColumnNames = None,
    percent: Names = None,
    chance: Mapping[str, float] | str | None = None,
    above: float | None = None,
    out: str | Path | None = None,
) -> EmergenceVerdicts:
    """Report for each task whether its score jumps with scale, how often, and whether it was foreseen.

    Args:
        source: a sweep directory with evaluations, a CSV or a DataFrame with task and score, or gpt3.
        against: scale: flops, params, loss or step; the first that all rows have by default.
        tasks: tasks to use; all by default.
        shots: numbers of examples in the prompt to use; all by default.
        metrics: metrics to use; all by default.
        params: of a directory, the parameter count N.
        where: rows to use, by column values: `{"dataset": "c4"}`.
        force: take scores of several experiments as one.
        columns: of a table, the column of a field that has another name: `{"score": "acc_norm"}`.
        percent: metrics of a table that are percentages.
        chance: score of guessing per task: `{"piqa": 0.5}`.
        above: score that counts as a breakthrough, from 0 to 1; half way from chance by default.
        out: file to write emergence.json to.

    Returns:
        A verdict per task, metric and number of examples, with its evidence.

    Raises:
        BadInputError: the source has no scores, too few scales, or scores of several experiments.

    Example:
        >>> scaling.emergence("gpt3", shots=0).to_frame()[["task", "word", "half_rise"]]
    """
    if above is not None and not 0 < above < 1:
        raise BadInputError(f"--above {above:g}: give a share between 0 and 1")
    from scaling.laws.emergence import emergence as answer_of
    from scaling.laws.emergence import read_scores
    from scaling.laws.emergence.score_reader import parse_chance, parse_score_columns

    scores = read_scores(
        source,
        params,
        parse_score_columns(columns) if isinstance(columns, str) else columns,
        names_of(percent) or (),
        parse_chance(chance) if isinstance(chance, str) else chance,
        where=where_of(where),
        force=force,
    ).choose(names_of(tasks), shots_of(shots), names_of(metrics))
    document = answer_of(scores, against, above=above).document
    if out is not None:
        document.write(Path(out))
    return EmergenceVerdicts(document)
