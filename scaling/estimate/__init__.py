"""Exact arithmetic on configs: parameters, FLOPs. Imports no JAX."""
