"""Where the time of a compiled program goes: loops multiplied, branches followed, what overlaps left out."""

import pytest

from scaling.config.record import Profile
from scaling.parallel.profile import profile_program
from tests.absent import devices

ON = devices("tpu-v5p:2x2x4")  # 1.75 GHz, 2.765e12 bytes/s, 90e9 bytes/s of a link
CLOCK = 1.75e9


def priced(cycles: int) -> str:
    return f'backend_config={{"window_config":{{"estimated_cycles":"{cycles}"}}}}'


def at(frame: int) -> str:
    return f'metadata={{op_name="jit(_step)/mul" stack_frame_id={frame}}}'


TABLES = """
FileNames
1 "/home/me/site-packages/scaling/train/step.py"
2 "/home/me/site-packages/optax/_src/transform.py"

FunctionNames
1 "step"

FileLocations
1 {file_name_id=1 function_name_id=1 line=10 end_line=10 column=1 end_column=2}
2 {file_name_id=2 function_name_id=1 line=20 end_line=20 column=1 end_column=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}

"""
FUSED = """
%added (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %a = f32[8]{0} add(%p, %p)
}

%multiplied (p: f32[128,128], q: f32[128,128]) -> f32[128,128] {
  %p = f32[128,128]{1,0} parameter(0)
  %q = f32[128,128]{1,0} parameter(1)
  ROOT %d = f32[128,128]{1,0} dot(%p, %q), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""


def loop(name: str, turns: int, body: str) -> str:
    """A computation that runs `turns` times, and its condition."""
    state = "(s32[], f32[8])"
    return f"""
%{name} (s: {state}) -> {state} {{
  %s = {state} parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %x = f32[8]{{0}} get-tuple-element(%s), index=1
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
{body}
  ROOT %t = {state} tuple(%next, %x)
}}

%{name}_on (s: {state}) -> pred[] {{
  %s = {state} parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %n = s32[] constant({turns})
  ROOT %on = pred[] compare(%i, %n), direction=LT
}}
"""


def program(entry: str, computations: str = "") -> str:
    return f"""HloModule m
{TABLES}{FUSED}{computations}
ENTRY %main (x: f32[8], m: f32[128,128]) -> f32[8] {{
  %x = f32[8]{{0}} parameter(0)
  %m = f32[128,128]{{1,0}} parameter(1)
  %zero = s32[] constant(0)
  %s0 = (s32[], f32[8]) tuple(%zero, %x)
{entry}
  ROOT %out = f32[8]{{0}} bitcast(%x)
}}
"""


def profiled(entry: str, computations: str = "") -> Profile:
    return profile_program(program(entry, computations), ON)


def adding(name: str, cycles: int) -> str:
    return f"  %{name} = f32[8]{{0}} fusion(%x), kind=kLoop, calls=%added, {at(2)}, {priced(cycles)}"


def test_kinds_and_source_lines_add_up() -> None:
    product = "fusion(%m, %m), kind=kOutput, calls=%multiplied"
    entry = "\n".join(
        [
            adding("a", 1000),
            f"  %c = f32[8]{{0}} copy(%x), {at(1)}, {priced(500)}",
            f"  %d = f32[128,128]{{1,0}} {product}, {at(2)}, {priced(2000)}",
            f"  %e = f32[8]{{0}} fusion(%x), kind=kLoop, calls=%added, {priced(300)}",
        ]
    )
    found = profiled(entry)
    assert found.cycles == pytest.approx(3800) and found.clock_hz == CLOCK
    assert found.step_seconds == pytest.approx(3800 / CLOCK)
    cycles = {kind: seconds * CLOCK for kind, seconds in found.by_kind.items()}
    assert cycles == pytest.approx(
        {"matmul": 2000, "attention": 0, "elementwise": 1300, "copy": 500, "collective": 0, "other": 0}
    )
    lines = [(line.source, line.caller, line.kind, round(line.seconds * CLOCK)) for line in found.top]
    assert lines == [
        ("optax/_src/transform.py:20", "scaling/train/step.py:10", "matmul", 2000),
        ("optax/_src/transform.py:20", "scaling/train/step.py:10", "elementwise", 1000),
        ("scaling/train/step.py:10", "", "copy", 500),
        ("", "", "elementwise", 300),
    ]
    assert sum(line.share for line in found.top) == pytest.approx(1)
    assert found.priced_by_compiler == pytest.approx(1)
    assert found.roofline.compute_seconds == pytest.approx(2 * 128**3 / 459e12)


def test_loops_within_loops_multiply() -> None:
    inner = loop("inner", 5, adding("a", 7))
    outer = loop(
        "outer", 3, f"{adding('b', 100)}\n  %w = (s32[], f32[8]) while(%z), condition=%inner_on, body=%inner"
    )
    outer = outer.replace(
        "  %one =", "  %none = s32[] constant(0)\n  %z = (s32[], f32[8]) tuple(%none, %x)\n  %one ="
    )
    found = profiled("  %w = (s32[], f32[8]) while(%s0), condition=%outer_on, body=%outer", inner + outer)
    assert found.cycles == pytest.approx(3 * (100 + 5 * 7), rel=1e-3)  # scalars take next to nothing
    assert sum(line.count for line in found.top if line.kind == "elementwise") >= 3 + 15


def test_a_loop_of_unknown_length_counts_once_and_says_so() -> None:
    text = program(
        "  %w = (s32[], f32[8]) while(%s0), condition=%l_on, body=%l", loop("l", 9, adding("a", 70))
    )
    found = profile_program(text.replace("%n = s32[] constant(9)", "%n = s32[] infeed(%s)"), ON)
    assert found.cycles == pytest.approx(70, rel=1e-3)
    assert any("counted once" in note for note in found.notes)


BRANCHES = f"""
%dense (y: f32[8]) -> f32[8] {{
  %x = f32[8]{{0}} parameter(0)
{adding("a", 1000)}
}}

%banded (y: f32[8]) -> f32[8] {{
  %x = f32[8]{{0}} parameter(0)
{adding("b", 10)}
}}
"""
CHOOSE = """  %kinds = s32[6]{0} constant({0, 1, 1, 0, 1, 1})
  %kind = s32[1]{0} dynamic-slice(%kinds, %i), dynamic_slice_sizes={1}
  %which = s32[] bitcast(%kind)
  %chosen = f32[8]{0} conditional(%which, %x, %x), branch_computations={%dense, %banded}"""


def test_branches_are_followed_from_iteration_to_iteration() -> None:
    """Layers that alternate: a table of constants says which branch an iteration takes."""
    entry = "  %w = (s32[], f32[8]) while(%s0), condition=%l_on, body=%l"
    found = profiled(entry, BRANCHES + loop("l", 6, CHOOSE))
    assert found.cycles == pytest.approx(2 * 1000 + 4 * 10, rel=1e-3)
    assert not any("branches" in note for note in found.notes)


def test_branches_that_nothing_decides_count_equally_often() -> None:
    entry = "  %w = (s32[], f32[8]) while(%s0), condition=%l_on, body=%l"
    text = loop("l", 6, CHOOSE).replace("constant({0, 1, 1, 0, 1, 1})", "constant({...})")
    found = profiled(entry, BRANCHES + text)
    assert found.cycles == pytest.approx(6 * (1000 + 10) / 2, rel=1e-3)
    assert any("counted equally often" in note for note in found.notes)


GATHER = (
    "  %g{0} = (f32[{1}]{{0}}, f32[{2}]{{0}}) all-gather-start(%big), channel_id={0}, "
    "replica_groups=[1,16]<=[16], dimensions={{0}}, use_global_device_ids=true"
)
BIG = '  %big = f32[1048576]{0} custom-call(), custom_call_target="AllocateBuffer"'


def test_what_overlaps_with_computation_is_not_waited_for() -> None:
    size = 2**20
    start = GATHER.format(1, size, 16 * size)
    done = "  %f = f32[16777216]{0} all-gather-done(%g1)"
    alone = profiled(f"{BIG}\n{start}\n{done}")
    assert alone.collective_seconds > 1e-4
    assert alone.by_kind["collective"] == pytest.approx(alone.collective_seconds)
    # The ring of 4 closes, and each of 2 chips on the other two axes adds a link: four of 90e9 bytes/s.
    assert alone.collective_seconds == pytest.approx(16 * size * 4 * 15 / 16 / (4 * 90e9), rel=0.1)
    half = round(alone.collective_seconds / 2 * CLOCK)
    hidden = profiled(f"{BIG}\n{start}\n{adding('a', half)}\n{done}")
    assert hidden.by_kind["collective"] == pytest.approx(alone.collective_seconds / 2, rel=1e-3)
    assert hidden.step_seconds == pytest.approx(alone.step_seconds, rel=1e-3)
    assert hidden.collective_seconds == pytest.approx(alone.collective_seconds)
    behind = profiled(f"{BIG}\n{start}\n{adding('a', 4 * half)}\n{done}")
    assert behind.by_kind["collective"] == 0 and behind.collective_seconds > 0


def test_what_shares_links_waits_for_its_turn() -> None:
    size = 2**20
    two = "\n".join(GATHER.format(i, size, 16 * size) for i in (1, 2))
    ends = "\n".join(f"  %d{i} = f32[16777216]{{0}} all-gather-done(%g{i})" for i in (1, 2))
    found = profiled(f"{BIG}\n{two}\n{ends}")
    assert found.by_kind["collective"] == pytest.approx(found.collective_seconds)
    permutes = "\n".join(
        f"  %p{i} = (f32[1048576]{{0}}, f32[1048576]{{0}}) collective-permute-start(%big), channel_id={i}, "
        f"source_target_pairs={pairs}\n"
        for i, pairs in ((1, "{{0,1},{1,0}}"), (2, "{{1,0},{0,1}}"))
    )
    dones = "\n".join(f"  %d{i} = f32[1048576]{{0}} collective-permute-done(%p{i})" for i in (1, 2))
    both = profiled(f"{BIG}\n{permutes}\n{dones}")  # in opposite directions
    assert both.by_kind["collective"] == pytest.approx(both.collective_seconds / 2)


PART = """
%part.{0} (g: f32[1048576]) -> f32[16777216] {{
  %g = f32[1048576]{{0}} parameter(0)
{1}
  ROOT %r = f32[16777216]{{0}} all-gather(%g), channel_id=9, replica_groups=[1,16]<=[16], dimensions={{0}}, \
use_global_device_ids=true, backend_config={{"async_collective_fusion_config":{{}}}}
}}
"""


def test_a_collective_that_is_spread_over_fusions_counts_once() -> None:
    """TPU starts one in a fusion, computes in others, also in loops, and ends it in a last one."""
    computes = "  %n = f32[1048576]{0} negate(%g)"
    parts = PART.format("ends", "") + PART.format("inner", computes)

    def fusion(name: str, part: str, cycles: int = 0) -> str:
        said = f", {priced(cycles)}" if cycles else ""
        return f"  %{name} = f32[16777216]{{0}} fusion(%big), kind=kCustom, calls=%part.{part}{said}"

    def around(middle: str, computations: str = "") -> Profile:
        entry = "\n".join([BIG, fusion("s", "ends"), middle, fusion("d", "ends")])
        return profiled(entry, parts + computations)

    alone = around("")
    assert alone.step_seconds == pytest.approx(alone.collective_seconds)
    quarter = round(alone.collective_seconds / 4 * CLOCK)
    found = around("\n".join((fusion("a", "inner", quarter), fusion("b", "inner", quarter))))
    assert found.collective_seconds == pytest.approx(alone.collective_seconds)
    assert found.step_seconds == pytest.approx(alone.step_seconds, rel=1e-3)
    assert found.by_kind["elementwise"] == pytest.approx(alone.step_seconds / 2, rel=1e-3)
    body = loop("l", 3, f"{BIG}\n{fusion('a', 'inner', quarter)}")
    looped = around("  %w = (s32[], f32[8]) while(%s0), condition=%l_on, body=%l", body)
    assert looped.collective_seconds == pytest.approx(alone.collective_seconds)
    assert looped.by_kind["elementwise"] == pytest.approx(3 * quarter / CLOCK, rel=1e-3)
    assert looped.step_seconds == pytest.approx(alone.step_seconds, rel=1e-3)


def test_copies_into_faster_memory_run_behind_computation() -> None:
    start = "  %s = (f32[1048576]{0:S(1)}, f32[1048576]{0}, u32[]) copy-start(%big)"
    done = "  %d = f32[1048576]{0:S(1)} copy-done(%s)"
    alone = profiled(f"{BIG}\n{start}\n{done}")
    assert alone.by_kind["copy"] == pytest.approx(4 * 2**20 / 2.765e12)
    assert profiled(f"{BIG}\n{start}\n{adding('a', 10**6)}\n{done}").by_kind["copy"] == 0


def test_other_programs() -> None:
    with pytest.raises(ValueError, match="no ENTRY"):
        profile_program("", ON)
    with pytest.raises(ValueError, match="does not estimate"):
        profile_program(program(""), devices("cpu:1"))
    assert profiled("").step_seconds == 0
