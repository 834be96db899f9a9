"""Kinds, FLOPs and bytes of the instructions of compiled programs."""

import pytest

from scaling.parallel.hlo import Module, parse
from scaling.parallel.operations import kind_of, moved_bytes, product_flops


def module(line: str, computations: str = "") -> Module:
    return parse(f"""HloModule m
{computations}
ENTRY %main (a: bf16[64,128], b: bf16[128,32], i: s32[]) -> f32[8] {{
  %a = bf16[64,128]{{1,0}} parameter(0)
  %b = bf16[128,32]{{1,0}} parameter(1)
  %i = s32[] parameter(2)
  %stack = bf16[12,64,128]{{2,1,0}} parameter(3)
  %near = bf16[64,128]{{1,0:T(8,128)(2,1)S(1)}} parameter(4)
  {line}
}}
""")


def fused(body: str) -> str:
    parameter = "  %p = bf16[64,128]{1,0} parameter(0)"
    return f"%f (p: bf16[64,128]) -> f32[8] {{\n{parameter}\n{body}\n}}\n"


KINDS = [
    ("%r = bf16[128,64]{1,0} transpose(%a), dimensions={1,0}", "", "copy"),
    ("%r = f32[64,128]{1,0} convert(%a)", "", "copy"),
    ("%r = bf16[64,128]{1,0} add(%a, %a)", "", "elementwise"),
    ("%r = bf16[64,32]{1,0} dot(%a, %b), lhs_contracting_dims={1}", "", "matmul"),
    ("%r = bf16[64,128]{1,0} all-reduce(%a), to_apply=%s", "", "collective"),
    ("%r = bf16[64,128]{1,0} sort(%a), dimensions={0}", "", "other"),
    ('%r = bf16[64,32]{1,0} custom-call(%a, %b), custom_call_target="__cublas$gemm"', "", "matmul"),
    ('%r = bf16[64,32]{1,0} custom-call(%a, %b), custom_call_target="__cudnn$fmhaSoftmax"', "", "attention"),
    ('%r = bf16[64,32]{1,0} custom-call(%a, %b), custom_call_target="tpu_custom_call"', "", "other"),
    (
        "%r = f32[128,64]{1,0} fusion(%a), kind=kLoop, calls=%f",
        fused("  %c = f32[64,128]{1,0} convert(%p)\n  ROOT %t = f32[128,64]{1,0} transpose(%c)"),
        "copy",
    ),
    (
        "%r = f32[64]{0} fusion(%a), kind=kInput, calls=%f",
        fused(
            "  %z = bf16[] constant(0)\n  ROOT %t = f32[64]{0} reduce(%p, %z), dimensions={1}, to_apply=%s"
        ),
        "elementwise",
    ),
    (
        "%r = bf16[64,128]{1,0} fusion(%a), kind=kCustom, calls=%f",
        fused("  ROOT %t = bf16[64,128]{1,0} all-reduce(%p), channel_id=1, to_apply=%s"),
        "collective",
    ),
]


@pytest.mark.parametrize(("line", "computations", "kind"), KINDS)
def test_kinds(line: str, computations: str, kind: str) -> None:
    found = module(line, computations)
    assert kind_of(found, found.computations["main"]["r"]) == kind


FLOPS = [
    (
        "%r = bf16[64,32]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}",
        2 * 64 * 128 * 32,
    ),
    ("%r = bf16[64,32]{1,0} convolution(%a, %b), dim_labels=bf_io->bf", 2 * 64 * 128 * 32),
    # Three batches of (5, 7) @ (7, 11), as a window of which one place is valid for each batch.
    (
        "%x = bf16[5,7,3]{2,1,0} parameter(5)\n  %y = bf16[7,11,3]{2,1,0} parameter(6)\n"
        "  %r = bf16[5,11,3]{2,1,0} convolution(%x, %y), window={size=3 stride=2 pad=0_0 lhs_dilate=3}, "
        "dim_labels=bf0_io0->bf0",
        2 * 3 * 5 * 7 * 11,
    ),
    ("%r = bf16[64,128]{1,0} add(%a, %a)", 0),
]


@pytest.mark.parametrize(("line", "flops"), FLOPS)
def test_flops(line: str, flops: int) -> None:
    found = module(line)
    assert product_flops(found, "main", found.computations["main"]["r"]) == flops


SIZE = 64 * 128 * 2
BYTES = [
    ("%r = bf16[64,128]{1,0} add(%a, %a)", "", 3 * SIZE),
    ("%r = bf16[64,128]{1,0} add(%a, %near)", "", 2 * SIZE),  # one operand is in on-chip memory
    ("%r = bf16[64,128]{1,0:S(1)} copy(%a)", "", SIZE),
    ("%r = bf16[12,64,128]{2,1,0} dynamic-update-slice(%stack, %a, %i, %i, %i)", "", 2 * SIZE),
    ("%r = bf16[1,64,128]{2,1,0} dynamic-slice(%stack, %i, %i, %i)", "", 2 * SIZE),
    ('%r = bf16[12,64,128]{2,1,0} custom-call(), custom_call_target="AllocateBuffer"', "", 0),
    (  # a fusion reads one slice of the stack
        "%r = bf16[1,64,128]{2,1,0} fusion(%stack, %i), kind=kLoop, calls=%f",
        "%f (p: bf16[12,64,128], j: s32[]) -> bf16[1,64,128] {\n"
        "  %p = bf16[12,64,128]{2,1,0} parameter(0)\n  %j = s32[] parameter(1)\n"
        "  %s = bf16[1,64,128]{2,1,0} dynamic-slice(%p, %j, %j, %j)\n"
        "  ROOT %n = bf16[1,64,128]{2,1,0} negate(%s)\n}\n",
        2 * SIZE + 4,
    ),
    (  # and one updates a slice in place
        "%r = bf16[12,64,128]{2,1,0} fusion(%stack, %a, %i), kind=kLoop, calls=%f",
        "%f (p: bf16[12,64,128], u: bf16[64,128], j: s32[]) -> bf16[12,64,128] {\n"
        "  %p = bf16[12,64,128]{2,1,0} parameter(0)\n  %u = bf16[64,128]{1,0} parameter(1)\n"
        "  %j = s32[] parameter(2)\n  %v = bf16[1,64,128]{2,1,0} bitcast(%u)\n"
        "  ROOT %n = bf16[12,64,128]{2,1,0} dynamic-update-slice(%p, %v, %j, %j, %j)\n}\n",
        2 * SIZE + 4,
    ),
]


@pytest.mark.parametrize(("line", "computations", "moved"), BYTES)
def test_bytes(line: str, computations: str, moved: int) -> None:
    found = module(line, computations)
    assert moved_bytes(found, "main", found.computations["main"]["r"]) == moved
