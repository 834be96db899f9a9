"""The kinds of figures of evaluations: scores over scale, and over the number of examples."""

from matplotlib.figure import Figure

from scaling.laws.emergence import Scores, read_scores
from scaling.laws.emergence import emergence as answer_of
from scaling.laws.read.inputs import Sources
from scaling.plots.emergence import emergence_figure, sharp_and_smooth_figure
from scaling.plots.in_context import in_context_figure
from scaling.plots.kinds import Options
from scaling.runtime.errors import BadInputError


def emergence_of(sources: Sources, options: Options) -> Figure:
    """The kind `emergence`."""
    return emergence_figure(answer_of(_scores(sources, options), options.against), options.log_score)


def sharp_and_smooth_of(sources: Sources, options: Options) -> Figure:
    """The kind `sharp-and-smooth`."""
    return sharp_and_smooth_figure(answer_of(_scores(sources, options), options.against), options.log_score)


def in_context_of(sources: Sources, options: Options) -> Figure:
    """The kind `in-context`."""
    return in_context_figure(_scores(sources, options))


def _scores(sources: Sources, options: Options) -> Scores:
    if len(sources.paths) != 1:
        raise BadInputError(f"{len(sources.paths)} sources of scores: give one sweep directory, or one CSV")
    scores = read_scores(sources.paths[0], sources.params, where=sources.where, force=sources.force)
    return scores.choose(options.tasks, options.shots, options.metrics)
