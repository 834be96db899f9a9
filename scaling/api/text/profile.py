"""Where the time of a compiled step goes, as text."""

from typing import TYPE_CHECKING

from scaling.api.text.blocks import Block, Text, table

if TYPE_CHECKING:
    from scaling.config.record import Profile, ProfileLine
    from scaling.estimate.time import StepTime

_LINES = 12  # source lines that are shown; JSON has more


def in_milliseconds(seconds: float) -> str:
    """Three digits, so that columns of small and large numbers can be compared."""
    value = 1000 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def place(line: "ProfileLine") -> str:
    """A source line, and the line of another file that calls it, without their folders."""
    if not line.source:
        return "(no source line)"
    own, caller = (text.rpartition("/")[2] for text in (line.source, line.caller))
    return f"{own} < {caller}" if caller else own


def profile_blocks(profile: "Profile", estimated: "StepTime") -> list[Block]:
    """Seconds by kind and by source line, next to the roofline and the estimate."""
    at = (
        "" if profile.clock_hz is None else f", {profile.cycles:.3g} cycles at {profile.clock_hz / 1e9:g} GHz"
    )
    title = f"Time of a step: {in_milliseconds(profile.step_seconds)} ms{at}"
    kinds = [
        (kind, in_milliseconds(seconds), f"{seconds / profile.step_seconds:.1%}")
        for kind, seconds in sorted(profile.by_kind.items(), key=lambda item: -item[1])
    ]
    roofline = profile.roofline
    low, high = estimated.low, estimated.high
    sides = [
        ("compiled program", in_milliseconds(profile.step_seconds), ""),
        (
            "roofline",
            in_milliseconds(roofline.step_seconds),
            f"compute {in_milliseconds(roofline.compute_seconds)}, "
            f"memory {in_milliseconds(roofline.memory_seconds)}",
        ),
        (
            "estimate",
            in_milliseconds(estimated.seconds),
            f"{in_milliseconds(low)} to {in_milliseconds(high)}, bound by {estimated.bound}",
        ),
    ]
    lines = [
        (place(line), line.kind, in_milliseconds(line.seconds), f"{line.share:.1%}", f"{line.count:,}")
        for line in profile.top[:_LINES]
    ]
    hidden = profile.collective_seconds - profile.by_kind["collective"]
    blocks: list[Block] = [
        Text(""),
        table(title, ("kind", "ms", "share"), kinds),
        Text(
            f"Collectives take {in_milliseconds(profile.collective_seconds)} ms on the links, of which "
            f"{in_milliseconds(max(0.0, hidden))} ms are hidden behind computation."
        ),
        Text(""),
        table("", ("one step", "ms", "of which"), sides, words_last=True),
        Text(""),
        table("", ("source line < caller", "kind", "ms", "share", "runs"), lines, left=2),
        Text(f"The compiler's own estimates make up {profile.priced_by_compiler:.0%} of the step."),
    ]
    return blocks + [Text(f"Note: {note}.") for note in profile.notes]
