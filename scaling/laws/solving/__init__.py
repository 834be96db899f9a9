"""Solving: the Huber objective, its derivatives, the batched trust-region solver and the best optimum."""
