"""GPUs as XLA describes them to itself, so that it compiles for one that is not there."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """What the CUDA driver would say of a GPU. A core here is a streaming multiprocessor."""

    title: str
    capability: int  # compute capability, the part before the dot
    cores: int
    fpus_per_core: int
    clock_ghz: float
    memory_bytes: int
    memory_bandwidth: int  # bytes a second
    l2_bytes: int
    shared_per_core: int  # bytes
    shared_per_block: int  # bytes, at most, for a kernel that asks


# By names in configs/hardware. Facts: XLA's device descriptions (github.com/openxla/xla, folder
# xla/backends/gpu/target_config/specs, read 2026-11), prints of what drivers answered; cores and bandwidths
# agree with NVIDIA's data sheets.
TARGETS = {
    "a100-40gb": Target(
        "NVIDIA A100-SXM4-40GB", 8, 108, 64, 1.41, 42331013120, 1555200000000, 41943040, 167936, 166912
    ),
    "a100-80gb": Target(
        "NVIDIA A100-SXM4-80GB", 8, 108, 64, 1.41, 85100068864, 2039040000000, 41943040, 167936, 166912
    ),
    "h100-sxm": Target(
        "NVIDIA H100 80GB HBM3", 9, 132, 128, 1.98, 84942979072, 3352320000000, 52428800, 233472, 232448
    ),
    "h100-pcie": Target(
        "NVIDIA H100 PCIe", 9, 114, 128, 1.755, 84942979072, 2039040000000, 52428800, 233472, 232448
    ),
    "h200": Target(
        "NVIDIA H200 141GB HBM3e", 9, 132, 128, 1.98, 151397597184, 4800000000000, 52428800, 233472, 232448
    ),
    "b200": Target(
        "NVIDIA B200", 10, 148, 128, 1.965, 191514411008, 7672320000000, 132644864, 233472, 232448
    ),
}


def target_text(target: Target) -> str:
    """A target as the protocol buffer text that the CUDA plugin reads."""
    return f"""gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536 shared_memory_per_block: 49152
  core_count: {target.cores} fpus_per_core: {target.fpus_per_core} clock_rate_ghz: {target.clock_ghz}
  device_memory_size: {target.memory_bytes} memory_bandwidth: {target.memory_bandwidth}
  l2_cache_size: {target.l2_bytes} shared_memory_per_core: {target.shared_per_core}
  shared_memory_per_block_optin: {target.shared_per_block}
  cuda_compute_capability {{ major: {target.capability} minor: 0 }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 }}
device_description_str: "{target.title}"
"""
