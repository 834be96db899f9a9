"""The work of attention kernels, from how compiled programs call them."""

import pytest

from scaling.parallel.attention_kernels import Work, work
from scaling.parallel.hlo import parse
from scaling.parallel.loops import evaluate

B, H, K, L, E = 2, 12, 4, 2048, 64
SPLASH = """HloModule m

ENTRY %main (q: bf16[8]) -> bf16[8] {{
  %next = s8[1,4,{columns}]{{2,1,0}} constant({next})
  %mask = s8[1,4,{columns}]{{2,1,0}} constant({mask})
  %q = bf16[2,12,2048,64]{{3,2,1,0}} parameter(0)
  %k = bf16[2,4,2048,64]{{3,2,1,0}} parameter(1)
  %ids = s32[2,2048,128]{{2,1,0}} parameter(2)
  %{name}.1 = (bf16[2,12,2048,64]{{3,2,1,0}}, f32[2,12,2048,128]{{3,2,1,0}}) custom-call(%next, %mask, \
%q, %k, %k, %ids), custom_call_target="tpu_custom_call", frontend_attributes={{kernel_metadata={{
"xprof_metadata":"{{\\"block_q\\": 512, \\"block_kv\\": 512, \\"block_q_dkv\\": 512, \
\\"block_kv_dkv\\": 512, \\"use_fused_bwd_kernel\\": {fused}}}"
}}}}, metadata={{op_name="jit(_step)/pallas_call" stack_frame_id=3}}, backend_config={{"body":"{{{{"}}
}}
"""
CAUSAL = "{ { { 1, 0, 0, 0 }, { 2, 1, 0, 0 }, { 2, 2, 1, 0 }, { 2, 2, 2, 1 } } }"
BANDED = "{ { { 1, 0 }, { 1, 1 }, { 1, 1 }, { 1, 1 } } }"  # the grid is only as wide as the band


def called(name: str, mask: str = CAUSAL, fused: str = "false", columns: int = 4) -> Work:
    module = parse(SPLASH.format(name=name, mask=mask, next=mask, fused=fused, columns=columns))
    main = module.computations["main"]
    one = main[f"{name}.1"]
    assert module.entry == "main" and "stack_frame_id=3" in one.metadata
    return work(one, main, [evaluate(module, "main", operand, []) for operand in one.operands])


@pytest.mark.parametrize(
    ("name", "products", "fused"),
    [
        ("splash_mha_fwd_segmented_residuals", 2, "false"),
        ("splash_mqa_dq_no_residuals", 3, "false"),
        ("splash_mha_dkv_no_residuals", 4, "false"),
        ("splash_mha_dkv_no_residuals", 5, "true"),
    ],
)
def test_products_over_the_blocks_that_a_causal_mask_leaves(name: str, products: int, fused: str) -> None:
    found = called(name, fused=fused)
    assert found.flops == 2 * products * B * H * L * L * E * 10 / 16
    assert found.masked and found.head == E


def test_a_band_leaves_its_blocks() -> None:
    assert called("splash_mha_fwd", BANDED, columns=2).flops == 4 * B * H * L * L * E * 7 / 16


def test_a_mask_that_is_not_printed_counts_in_full() -> None:
    found = called("splash_mha_fwd", "{...}")
    assert not found.masked and found.flops == 4 * B * H * L * L * E


CUDNN = """HloModule m

ENTRY %main (q: bf16[8]) -> bf16[8] {{
  %q = bf16[2,2048,12,64]{{3,2,1,0}} parameter(0)
  %k = bf16[2,2048,4,64]{{3,2,1,0}} parameter(1)
  %a.1 = (bf16[2,12,2048,64]{{3,1,2,0}}, u8[0]{{0}}) custom-call(%q, %k, %k), \
custom_call_target="__cudnn$fmhaSoftmax{back}", backend_config=\
{{"cudnn_fmha_backend_config": {{"mask_type": "{mask}", "sliding_window_length": {window}}}}}
}}
"""


@pytest.mark.parametrize(
    ("back", "mask", "window", "flops"),
    [
        ("", "NO_MASK", 0, 4 * L * L),
        ("", "CAUSAL", 0, 4 * L * (L + 1) / 2),
        ("Backward", "CAUSAL", 0, 10 * L * (L + 1) / 2),
        ("", "CAUSAL", 1, 4 * L),
    ],
)
def test_cudnn(back: str, mask: str, window: int, flops: float) -> None:
    module = parse(CUDNN.format(back=back, mask=mask, window=window))
    main = module.computations["main"]
    found = work(main["a.1"], main, [])
    assert found.flops == pytest.approx(flops * B * H * E)
