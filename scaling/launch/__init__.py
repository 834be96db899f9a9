"""Sweeps on clusters: the slice each run gets, what is submitted where, and what was submitted before."""
