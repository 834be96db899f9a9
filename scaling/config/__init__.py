"""Typed, frozen, validated configuration. Imports no JAX."""
