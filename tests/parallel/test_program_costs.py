"""FLOPs from a jaxpr, against closed forms and against XLA's count where nothing loops."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from scaling.parallel.program_costs import matmul_flops, matmul_flops_by_shape

M, K, N = 8, 16, 32
ONE = 2.0 * M * K * N
x = jnp.ones((M, K))
w = jnp.ones((K, N))
square = jnp.ones((K, K))


def flops(function: Callable[..., Any], *arguments: Any) -> float:
    return matmul_flops(jax.make_jaxpr(function)(*arguments))


def test_one_product_and_a_batch_of_them() -> None:
    assert flops(jnp.matmul, x, w) == ONE
    assert flops(jax.jit(jnp.matmul), x, w) == ONE
    assert flops(jax.vmap(jnp.matmul, (0, None)), jnp.ones((5, M, K)), w) == 5 * ONE
    q = jnp.ones((3, 4, 10, 6))
    assert flops(lambda q: jnp.einsum("bhle,bhme->bhlm", q, q), q) == 2 * 3 * 4 * 10 * 10 * 6
    assert flops(lambda x: jnp.tanh(x) + x.sum(), x) == 0


def test_a_loss_and_its_gradient_are_three_products() -> None:
    def loss(x: jax.Array, w: jax.Array) -> jax.Array:
        return jnp.square(x @ w).sum()

    assert flops(jax.grad(loss, (0, 1)), x, w) == 3 * ONE
    assert flops(jax.grad(loss, 1), x, w) == 2 * ONE


def test_a_scan_counts_its_body_as_often_as_it_runs() -> None:
    def layers(x: jax.Array, ws: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, ws)[0].sum()

    one = 2.0 * M * K * K
    ws = jnp.ones((7, K, K))
    assert flops(layers, x, ws) == 7 * one
    assert flops(jax.grad(layers, (0, 1)), x, ws) == 3 * 7 * one
    nested = jax.vmap(layers, (0, None))
    assert flops(nested, jnp.ones((2, M, K)), ws) == 2 * 7 * one


def test_rematerialisation_is_counted() -> None:
    def loss(x: jax.Array, w: jax.Array, policy: Any) -> jax.Array:
        layer = jax.checkpoint(lambda x, w: jnp.sin(jnp.sin(x @ w) @ w), policy=policy)
        return layer(x, w).sum()

    one = 2.0 * M * K * K
    nothing, everything = (
        jax.checkpoint_policies.nothing_saveable,
        jax.checkpoint_policies.everything_saveable,
    )
    kept = flops(jax.grad(lambda x, w: loss(x, w, everything), (0, 1)), x, square)
    again = flops(jax.grad(lambda x, w: loss(x, w, nothing), (0, 1)), x, square)
    assert kept == 3 * 2 * one
    assert again == kept + 2 * one


def test_custom_derivatives_count_as_they_are_written() -> None:
    @jax.custom_vjp
    def product(x: jax.Array, w: jax.Array) -> jax.Array:
        return x @ w

    # The way back gives up on w, and takes two products for x.
    product.defvjp(lambda x, w: (x @ w, w), lambda w, d: ((d @ w.T) + (d @ (2.0 * w).T), jnp.zeros_like(w)))
    assert flops(product, x, w) == ONE
    assert flops(jax.grad(lambda x: jnp.square(product(x, w)).sum()), x) == 3 * ONE

    @jax.custom_jvp
    def power(a: jax.Array) -> jax.Array:
        return a @ a

    power.defjvp(lambda primals, tangents: (power(primals[0]), 2.0 * tangents[0]))
    assert flops(power, square) == 2.0 * K**3
    assert flops(jax.grad(lambda a: jnp.square(power(a)).sum()), square) == 2.0 * K**3


def test_a_branch_counts_its_dearest_side() -> None:
    def either(take: jax.Array, x: jax.Array, w: jax.Array) -> jax.Array:
        return jax.lax.cond(take, lambda: x @ w, lambda: x @ w @ w.T @ w)

    assert flops(either, jnp.array(True), x, w) == 3 * ONE


def test_a_while_loop_of_products_is_refused_and_one_without_is_free() -> None:
    def until(x: jax.Array) -> jax.Array:
        return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ square, x)

    with pytest.raises(ValueError, match="while"):
        flops(until, x)
    assert flops(lambda x: jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x + 1, x), x) == 0
    assert flops(lambda x: jax.lax.fori_loop(0, 5, lambda _, x: x @ square, x), x) == 5 * 2 * M * K * K


def test_shards_add_up_to_the_whole() -> None:
    mesh = Mesh(np.array(jax.devices()[:8]).reshape(4, 2), ("a", "b"))

    def sharded(x: jax.Array, w: jax.Array) -> jax.Array:
        spec = PartitionSpec("a", None)
        return jax.shard_map(
            jnp.matmul,
            mesh=mesh,
            in_specs=(spec, PartitionSpec(None, "b")),
            out_specs=PartitionSpec("a", "b"),
        )(x, w)

    assert flops(sharded, x, w) == ONE


def test_convolution() -> None:
    image, kernel = jnp.ones((2, 9, 9, 3)), jnp.ones((4, 4, 3, 5))

    def convolve(image: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            image, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    assert flops(convolve, image, kernel) == 2.0 * (2 * 6 * 6 * 5) * (4 * 4 * 3)


def test_shapes_say_where_the_flops_go() -> None:
    by_shape = matmul_flops_by_shape(jax.make_jaxpr(lambda x, w: (x @ w) @ w.T)(x, w))
    assert by_shape == {"f32[8,16] f32[16,32]": ONE, "f32[8,32] f32[32,16]": ONE}


def test_xla_counts_the_same_where_nothing_loops() -> None:
    def chain(x: jax.Array, w: jax.Array) -> jax.Array:
        return x @ w @ w.T @ w

    big, wide = jnp.ones((256, 128)), jnp.ones((128, 512))
    peer = jax.jit(chain).lower(big, wide).compile().cost_analysis()["flops"]
    assert flops(chain, big, wide) == pytest.approx(peer, rel=1e-3)
