"""What the axis `expert` does to memory, traffic and time of a mixture; on the axes of a mesh."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.devices import parse_devices, run_for
from scaling.config.load import load_model, load_run
from scaling.config.mesh import MeshConfig
from scaling.estimate.counts import count_parameters, tensors
from scaling.estimate.layout import layout_of
from scaling.estimate.memory import memory
from scaling.estimate.time import step_time
from scaling.estimate.work import work_of


def run_on(mesh, name="switch-base-32", *overrides):
    model = load_model(name, ["compute_dtype=bfloat16", *overrides])
    train = {"steps": 1, "batch_tokens": 512 * 256, "learning_rate": 1e-3}
    tree = {"model": model.model_dump(), "data": {"sequence_length": 512}, "train": train, "mesh": mesh}
    return load_run(tree)


def laid_out(mesh, *overrides):
    run = run_on(mesh, *overrides)
    return run, layout_of(run, MeshConfig(**mesh).batch_shards() * mesh.get("tensor", 1), 512)


def test_experts_are_split_and_the_rest_is_not():
    run, layout = laid_out({"expert": 8})
    counts, router = count_parameters(run.model), 12 * 768 * 32
    experts = 12 * 32 * 2 * 768 * 3072
    assert sum(t.size for t in tensors(run.model) if t.is_expert) == experts + router
    found = memory(run, layout, "gpu")
    assert found.params == 4 * (counts.total - (experts + router) * 7 // 8)
    assert found.batch == memory(*laid_out({"data": 8}), "gpu").batch


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["switch-base-8", "switch-base-32", "switch-large-128"]),
    st.sampled_from(["none", "dots", "full"]),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([1, 2]),
)
def test_devices_are_better_given_to_experts_than_to_replicas(name, remat, expert, tensor):
    """Twice as many ways of experts in place of replicas: less memory, the same work, more exchange."""

    def of(data, expert):
        mesh = {"data": data, "expert": expert, "tensor": tensor}
        run, layout = laid_out(mesh, name, f"remat={remat}")
        work = work_of(run, layout, "gpu")
        sent = sum(t.count * t.size / layout.expert for t in work.exposed if t.kind == "all_to_all")
        return memory(run, layout, "gpu").total, work.hardware_flops, sent

    before, after = of(8 // expert, expert), of(4 // expert, 2 * expert)
    assert after[0] < before[0] and after[1] == before[1]
    assert after[2] >= before[2] and (before[2] > 0) == (expert > 1)


def test_the_exchange_by_hand():
    """Twelve mixtures of both sides; forward and back, twice each, and to the experts again (remat full)."""
    run, layout = laid_out({"expert": 8}, "switch-base-8", "remat=full")
    exchanges = [t for t in work_of(run, layout, "gpu").exposed if t.kind == "all_to_all"]
    slots = 1.25 * 512 * 256 / 8  # of the rows of a device, each 768 numbers of two bytes
    assert sum(t.count * t.size for t in exchanges) == 12 * 5 * 8 * slots * 768 * 2
    overlapped = {(t.axis, t.kind): t.size for t in work_of(run, layout, "gpu").overlapped}
    matrices = [t for t in tensors(run.model) if t.is_matrix]
    assert overlapped["expert", "all_reduce"] == 4 * sum(t.size for t in matrices if not t.is_expert)


def test_an_empty_slot_is_executed_and_not_asked_for():
    """At 1.25 a share, each expert's products are a quarter more than the model's."""
    run, layout = laid_out({"expert": 8}, "switch-base-8", "remat=none")
    wide, _ = laid_out({"expert": 8}, "switch-base-8", "remat=none", "mixture.capacity_factor=2")
    one, two = work_of(run, layout, "gpu"), work_of(wide, layout, "gpu")
    assert one.model_flops == two.model_flops
    products = 3 * 12 * 2 * 2 * 768 * 3072 * 512 * 256
    assert two.hardware_flops - one.hardware_flops == pytest.approx(0.75 * products)


def test_memory_of_a_decoder_follows_its_mixtures():
    """A mixture layer keeps more than a dense one, and the more the more slots it has."""
    decoder = ["mixture.experts=8", "n_layers=12"]
    dense, _ = laid_out({"data": 8}, "gpt2-124m")
    layout = layout_of(dense, 8)
    found = [
        memory(run_on({"data": 8}, "gpt2-124m", *decoder, *more), layout, "gpu").activations
        for more in ([], ["mixture.capacity_factor=2"], ["mixture.top_k=2"], ["mixture.every=1"])
    ]
    assert memory(dense, layout, "gpu").activations < found[0] < found[1] < found[2]
    assert found[3] > found[0]


def test_a_mixture_on_devices_lays_its_experts_over_them():
    devices = parse_devices("h100-sxm:16")
    run = run_for("switch-base-8", devices, None, [])
    assert run.mesh.sizes() == {"data": 1, "stage": 1, "fsdp": 2, "expert": 8, "context": 1, "tensor": 1}
    layout = layout_of(run, 16)
    time = step_time(work_of(run, layout, "gpu"), layout, devices)
    assert 0 < time.mfu < time.hfu < 1


def test_the_axis_of_experts():
    assert MeshConfig(data=2, expert=4).batch_shards() == 8
    assert MeshConfig(fsdp=2, expert=-1).over(16) == MeshConfig(fsdp=2, expert=8)
    assert MeshConfig(expert=-1).batch_shards() is None
    assert str(MeshConfig(fsdp=2, tensor=4)) == "data=1,fsdp=2,tensor=4"
    assert str(MeshConfig(fsdp=2, expert=4)) == "data=1,fsdp=2,expert=4,tensor=1"
    MeshConfig(fsdp=8).check_experts(None)
    MeshConfig(expert=4).check_experts(8)
    with pytest.raises(ValueError, match="expert=4: the model has no mixture of experts"):
        MeshConfig(expert=4).check_experts(None)
    with pytest.raises(ValueError, match="expert=3 does not divide"):
        MeshConfig(expert=3).check_experts(8)
