"""How often loops run: prints of two compiler versions, cut from real programs, and other forms."""

from pathlib import Path

import pytest

from scaling.parallel.hlo import parse
from scaling.parallel.loops import trip_count
from scaling.parallel.program_costs import count_collectives
from tests.absent import devices, needs_tpu_compiler, tiny_run

PRINTS = Path(__file__).parent / "hlo"


@pytest.mark.parametrize(
    ("version", "all_gather", "all_reduce"), [("0.0.42", (21, 1_712_128), 7), ("0.0.52", (19, 1_708_032), 5)]
)
def test_real_prints_of_two_versions(version: str, all_gather: tuple[int, int], all_reduce: int) -> None:
    """Two layers, sharded over 4. Neither notes a count; the newer writes `%state#0` for an element."""
    text = (PRINTS / f"libtpu-{version}.txt").read_text()
    assert "known_trip_count" not in text and ("#0" in text) == (version == "0.0.52")
    found, notes = count_collectives(text)
    assert notes == ()
    assert (found.all_gather.count, found.all_gather.bytes) == all_gather
    assert (found.all_reduce.count, found.all_to_all.count) == (all_reduce, 3)
    module = parse(text)
    loops = [one for one in module.computations[module.entry].values() if one.opcode == "while"]
    assert [trip_count(module, module.entry, loop, []) for loop in loops] == [2, 2]


def program(start: str, body: str, condition: str, more: str = "", extra: str = "constant(9)") -> str:
    """A loop over (i, limit) whose body sets %next, from %i and %limit, and whose condition is %holds."""
    state = "(s32[]{:T(128)}, s32[])"
    return f"""HloModule m
{more}
%body (p: {state}) -> {state} {{
  %p = {state} parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %limit = s32[] get-tuple-element(%p), index=1
{body}
  ROOT %t = {state} tuple(%next, %limit)
}}

%condition (q: {state}) -> pred[] {{
  %q = {state} parameter(0)
  %i = s32[] get-tuple-element(%q), index=0
  %limit = s32[] get-tuple-element(%q), index=1
{condition}
}}

ENTRY %main (x: s32[]) -> s32[] {{
  %x = s32[] parameter(0)
  %first = s32[] {start}
  %last = s32[] {extra}
  %s = {state} tuple(%first, %last)
  ROOT %run = {state} while(%s), condition=%condition, body=%body
}}
"""


def turns(text: str) -> int | None:
    module = parse(text)
    (loop,) = (one for one in module.computations["main"].values() if one.opcode == "while")
    return trip_count(module, "main", loop, [None])


ONE = "  %step = s32[] constant(1)\n  %next = s32[] add(%i, %step)"
BELOW = "  ROOT %holds = pred[] compare(%i, %limit), direction=LT"


@pytest.mark.parametrize(
    ("start", "body", "condition", "want"),
    [
        ("constant(0)", ONE, BELOW, 9),  # the limit is an operand that no turn changes
        ("constant(4)", ONE, BELOW, 5),
        ("constant(12)", ONE, BELOW, 0),
        ("constant(0)", "  %step = s32[] constant(4)\n  %next = s32[] add(%step, %i)", BELOW, 3),
        ("constant(0)", ONE, BELOW.replace("LT", "LE"), 10),
        ("constant(0)", ONE, BELOW.replace("LT", "NE"), 9),
        ("constant(0)", ONE, BELOW.replace("%i, %limit", "%limit, %i").replace("LT", "GT"), 9),
        ("constant(0)", ONE, BELOW.replace("%i, %limit", "s32[]{:T(128)} %i, s32[] %limit"), 9),
        ("constant(0)", ONE, BELOW.replace("%i, %limit", "%q#0, %q#1"), 9),
        ("constant(8)", "  %step = s32[] constant(2)\n  %next = s32[] subtract(%i, %step)",
         "  %zero = s32[] constant(0)\n  ROOT %holds = pred[] compare(%i, %zero), direction=GT", 4),
        ("constant(0)", "  %next = s32[] fusion(%i), kind=kLoop, calls=%advance",
         "  ROOT %holds = pred[] fusion(%limit, %i), kind=kLoop, calls=%compared", 9),
        ("constant(0)", ONE, "  %a = pred[] compare(%i, %limit), direction=LT\n  %five = s32[] constant(5)\n"
         "  %b = pred[] compare(%i, %five), direction=LT\n  ROOT %holds = pred[] and(%a, %b)", 5),
        ("copy(%x)", ONE, BELOW, None),  # starts at an argument of the program
        ("constant(0)", "  %next = s32[] custom-call(%i)", BELOW, None),
        ("constant(0)", "  %next = s32[] copy(%i)", BELOW, None),  # by its integers it would never end
    ],
)  # fmt: skip
def test_starts_steps_and_comparisons(start: str, body: str, condition: str, want: int | None) -> None:
    more = """
%advance (a: s32[]) -> s32[] {
  %a = s32[] parameter(0)
  %one = s32[] constant(1)
  ROOT %sum = s32[] add(%a, %one)
}

%compared (b: s32[], c: s32[]) -> pred[] {
  %b = s32[] parameter(0)
  %c = s32[] parameter(1)
  ROOT %less = pred[] compare(%c, %b), direction=LT
}
"""
    assert turns(program(start, body, condition, more)) == want


def test_a_limit_that_an_outer_loop_carries() -> None:
    """The inner loop's limit is the outer's second element, which no turn of it changes: 9 times 9."""
    inner = program("constant(0)", ONE, BELOW).split("ENTRY")[0]
    inner = inner.replace("HloModule m", "").replace("%body", "%inner").replace("%condition", "%less")
    inner = inner.replace(
        "  ROOT %t", "  %g = f32[4] all-gather(%i), channel_id=1, dimensions={0}\n  ROOT %t"
    )
    start = "  %from = s32[] constant(0)\n  %s2 = (s32[], s32[]) tuple(%from, %limit)\n"
    start += "  %again = (s32[], s32[]) while(%s2), condition=%less, body=%inner\n"
    found, notes = count_collectives(program("constant(0)", start + ONE, BELOW, inner))
    assert notes == () and found.all_gather.count == 81


@pytest.mark.slow
@needs_tpu_compiler
def test_the_installed_compiler_is_read() -> None:
    """Every two more layers add as many collectives."""
    from scaling.train.dry_run import dry_run

    counts = []
    for layers in (2, 4, 6):
        compiled = dry_run(tiny_run(mesh={"fsdp": 4}, n_layers=layers), devices("tpu-v5e:2x2"))
        assert compiled.notes == () and compiled.collectives is not None
        counts.append(compiled.collectives.all_gather.count)
    assert counts[2] - counts[1] == counts[1] - counts[0] > 0
