"""Collectives in the text of compiled programs: written by hand in the forms that were seen, and one real."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from scaling.config.record import Collectives, CollectiveTraffic
from scaling.parallel.hlo import type_bytes
from scaling.parallel.program_costs import count_collectives

ADD = """%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(128)} parameter(0)
  %b = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%a, %b)
}
"""


def counted(text: str) -> dict[str, tuple[int, int]]:
    """Kinds that occur: how often, and bytes."""
    found, notes = count_collectives(text)
    assert notes == ()
    kinds = {kind: getattr(found, kind) for kind in Collectives.model_fields}
    return {kind: (traffic.count, traffic.bytes) for kind, traffic in kinds.items() if traffic.count}


def loop(bound: str, body: str, first: str = "constant(0)", noted: str = "") -> str:
    """A program that runs `body` in a loop whose counter is compared with `bound`."""
    return f"""HloModule step, is_scheduled=true
{ADD}
%body (p.1: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {{
  %p.1 = (s32[]{{:T(128)}}, f32[8,128]{{1,0:T(8,128)}}) parameter(0)
  %i.1 = s32[]{{:T(128)}} get-tuple-element(%p.1), index=0
  %x.1 = f32[8,128]{{1,0:T(8,128)}} get-tuple-element(%p.1), index=1
{body}
  %step.1 = s32[]{{:T(128)}} constant(1)
  %next.1 = s32[]{{:T(128)}} add(%i.1, %step.1)
  ROOT %t.1 = (s32[]{{:T(128)}}, f32[8,128]{{1,0:T(8,128)}}) tuple(%next.1, %x.1)
}}

%condition (p.2: (s32[], f32[8,128])) -> pred[] {{
  %p.2 = (s32[]{{:T(128)}}, f32[8,128]{{1,0:T(8,128)}}) parameter(0)
  %limit = s32[]{{:T(128)}} {bound}
  %i.2 = s32[]{{:T(128)}} get-tuple-element(%p.2), index=0
  ROOT %less = pred[]{{:T(512)}} compare(%i.2, %limit), direction=LT
}}

ENTRY %main (x: f32[8,128]) -> f32[8,128] {{
  %x = f32[8,128]{{1,0:T(8,128)}} parameter(0)
  %zero = s32[]{{:T(128)}} {first}
  %start = (s32[]{{:T(128)}}, f32[8,128]{{1,0:T(8,128)}}) tuple(%zero, %x)
  %run = (s32[], /*index=1*/f32[8,128]{{1,0:T(8,128)}}) while(%start), condition=%condition, body=%body{noted}
  ROOT %out = f32[8,128]{{1,0:T(8,128)}} get-tuple-element(%run), index=1
}}
"""


GATHER = "  %g = f32[64,128]{1,0:T(8,128)} all-gather(%x.1), channel_id=1, dimensions={0}"
ARRAY = 8 * 128 * 4


def test_what_stands_in_a_loop_counts_as_often_as_it_runs() -> None:
    assert counted(loop("constant(12)", GATHER)) == {"all_gather": (12, 12 * 8 * ARRAY)}
    assert counted(loop("constant(12)", GATHER, first="constant(4)")) == {"all_gather": (8, 8 * 8 * ARRAY)}
    noted = ', backend_config={"known_trip_count":{"n":"5"},"other":1}'
    assert counted(loop("parameter(1)", GATHER, noted=noted)) == {"all_gather": (5, 5 * 8 * ARRAY)}


def test_a_loop_that_may_run_any_number_of_times() -> None:
    found, notes = count_collectives(loop("parameter(1)", GATHER))
    assert found.all_gather == CollectiveTraffic(count=1, bytes=8 * ARRAY), "once: the least that it may be"
    assert len(notes) == 1 and notes[0].startswith("loop run: the compiled program does not say how often")
    assert counted(loop("parameter(1)", "  %y = f32[8,128]{1,0} negate(%x.1)")) == {}


def test_start_and_done_are_one() -> None:
    body = """  %s = (f32[8,128]{1,0}, f32[8,128]{1,0}, u32[]) collective-permute-start(%x.1), channel_id=2
  %d = f32[8,128]{1,0} collective-permute-done(%s)
  %s.1 = (f32[8,128]{1,0}, f32[64,128]{1,0}) all-gather-start(%x.1), channel_id=3, dimensions={0}
  %d.1 = f32[64,128]{1,0} all-gather-done(%s.1)"""
    assert counted(loop("constant(3)", body)) == {
        "all_gather": (3, 3 * 8 * ARRAY),
        "collective_permute": (3, 3 * ARRAY),
    }


def test_reductions_count_what_they_start_from() -> None:
    body = """  %g = f32[64,128]{1,0} broadcast(%x.1), dimensions={0,1}
  %r = f32[8,128]{1,0} reduce-scatter(%g), channel_id=4, dimensions={0}, to_apply=%add
  %s = (f32[8,128]{1,0}, bf16[16]{0}) all-reduce(%x.1, %x.1), channel_id=5, to_apply=%add
  %a = bf16[8,64,2]{2,1,0} all-to-all(%x.1), channel_id=6, dimensions={0}"""
    assert counted(loop("constant(1)", body)) == {
        "reduce_scatter": (1, 8 * ARRAY),
        "all_reduce": (1, ARRAY + 32),
        "all_to_all": (1, 8 * 64 * 2 * 2),
    }


def test_tpu_writes_a_reduce_scatter_as_a_fusion() -> None:
    text = f"""HloModule step
{ADD}
%all-reduce-scatter.1.clone (input.3: f32[64,128]) -> f32[8,128] {{
  %input.3 = f32[64,128]{{1,0:T(8,128)}} parameter(0)
  %all-reduce.9 = f32[64,128]{{1,0:T(8,128)}} all-reduce(%input.3), channel_id=7, to_apply=%add
  %which = s32[] constant(0)
  ROOT %part = f32[8,128]{{1,0}} dynamic-slice(%all-reduce.9, %which), dynamic_slice_sizes={{8,128}}
}}

ENTRY %main (x: f32[64,128]) -> f32[8,128] {{
  %x = f32[64,128]{{1,0:T(8,128)}} parameter(0)
  %y = f32[64,128]{{1,0:T(8,128)}} all-reduce(%x), channel_id=8, to_apply=%add
  ROOT %fusion.1 = f32[8,128]{{1,0:T(8,128)}} fusion(%y), kind=kCustom, calls=%all-reduce-scatter.1.clone
}}
"""
    assert counted(text) == {"reduce_scatter": (1, 8 * ARRAY), "all_reduce": (1, 8 * ARRAY)}


def test_a_collective_spread_over_fusions_is_one_also_where_a_loop_overlaps_it() -> None:
    part = """%{name} (p.{n}: f32[8,128]) -> f32[64,128] {{
  %p.{n} = f32[8,128]{{1,0}} parameter(0)
  ROOT %all-gather.{n} = f32[64,128]{{1,0}} all-gather(%p.{n}), channel_id=9, dimensions={{0}}, \
backend_config={{"async_collective_fusion_config":{{"flag_start":"2"}}}}
}}
"""
    inner = loop(
        "constant(6)", "  %f = f32[64,128]{1,0} fusion(%x.1), kind=kLoop, calls=%async_collective_fusion.2"
    )
    parts = "".join(part.format(name=f"async_collective_fusion.{n}", n=n) for n in (1, 2, 3))
    text = inner.replace(ADD, ADD + parts).replace(
        "  %run = ",
        "  %s = f32[64,128]{1,0} fusion(%x), kind=kCustom, calls=%async_collective_fusion.1\n"
        "  %d = f32[64,128]{1,0} fusion(%x), kind=kCustom, calls=%async_collective_fusion.3\n  %run = ",
    )
    assert counted(text) == {"all_gather": (1, 8 * ARRAY)}


def test_collectives_that_run_on_a_unit_of_their_own() -> None:
    text = """HloModule step
%called_computation (p: s32[1,16]) -> s32[4,16] {
  %p = s32[1,16]{1,0} parameter(0)
  ROOT %g = s32[4,16]{1,0} all-gather(%p), channel_id=3, dimensions={0}
}, execution_thread="sparsecore"

%async_computation (q: s32[1,16]) -> s32[4,16] {
  %q = s32[1,16]{1,0} parameter(0)
  ROOT %c = s32[4,16]{1,0} custom-call(%q), custom_call_target="t", called_computations={%called_computation}
}, execution_thread="sparsecore"

ENTRY %main (x: s32[1,16]) -> s32[4,16] {
  %x = s32[1,16]{1,0} parameter(0)
  %s = ((s32[1,16]{1,0}), s32[4,16]{1,0}, u32[]{:S(8)}) async-start(%x), calls=%async_computation
  %u = ((s32[1,16]{1,0}), s32[4,16]{1,0}, u32[]{:S(8)}) async-update(%s)
  ROOT %d = s32[4,16]{1,0} async-done(%u)
}
"""
    assert counted(text) == {"all_gather": (1, 4 * 16 * 4)}


def test_of_branches_the_dearest() -> None:
    side = """%{name} (p.{n}: f32[8]) -> f32[{n}] {{
  %p.{n} = f32[8]{{0}} parameter(0)
  ROOT %g.{n} = f32[{n}]{{0}} all-gather(%p.{n}), channel_id={n}, dimensions={{0}}
}}
"""
    text = (
        "HloModule step\n"
        + side.format(name="yes", n=16)
        + side.format(name="no", n=32)
        + """ENTRY %main (x: f32[8], which: s32[]) -> f32[32] {
  %x = f32[8]{0} parameter(0)
  %which = s32[] parameter(1)
  ROOT %c = f32[32]{0} conditional(%which, %x, %x), branch_computations={%yes, %no}
}
"""
    )
    assert counted(text) == {"all_gather": (1, 32 * 4)}


@pytest.mark.parametrize(
    ("type", "size"),
    [
        ("f32[]", 4),
        ("bf16[3,5]{1,0:T(8,128)(2,1)S(1)}", 30),
        ("(f32[2]{0}, /*index=1*/(pred[8]{0}, s4[3]{0}), u32[]{:S(2)})", 8 + 8 + 2 + 4),
        ("f8e4m3fn[7]{0}", 7),
        ("token[]", 0),
        ("()", 0),
    ],
)
def test_bytes_of_types(type: str, size: int) -> None:
    assert type_bytes(type) == size


def test_text_that_is_no_program() -> None:
    with pytest.raises(ValueError, match="ENTRY"):
        count_collectives("nothing here")


def test_a_real_program() -> None:
    """Five times a sum over 8 devices and a shift to the next, then one gather: XLA's own print of it."""
    mesh = Mesh(np.array(jax.devices()[:8]), ("a",))

    def local(x: jax.Array) -> jax.Array:
        def body(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            total = jax.lax.psum(x, "a")
            return jnp.tanh(jax.lax.ppermute(x, "a", [(i, (i + 1) % 8) for i in range(8)]) + total), None

        return jax.lax.all_gather(jax.lax.scan(body, x, length=5)[0], "a", axis=0, tiled=True)

    spec = PartitionSpec("a", None)
    function = jax.shard_map(local, mesh=mesh, in_specs=spec, out_specs=PartitionSpec(), check_vma=False)
    array = jax.ShapeDtypeStruct((8 * 4, 16), jnp.float32, sharding=NamedSharding(mesh, spec))
    found, _ = count_collectives(jax.jit(function).lower(array).compile().as_text())
    one = 4 * 16 * 4
    assert found.all_reduce == found.collective_permute == CollectiveTraffic(count=5, bytes=5 * one)
    assert found.all_gather == CollectiveTraffic(count=1, bytes=8 * one)
    assert found.reduce_scatter.count == found.all_to_all.count == 0
