"""Compiled programs kept between processes: an evaluation compiles for longer than it computes."""

import jax

from scaling.runtime.files import cache_root


def keep_compiled() -> None:
    """Let JAX keep what it compiles in this lab's cache, unless a person chose another place."""
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_root() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
