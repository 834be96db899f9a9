"""Sweeps on clusters: the slice of each run, the filled-in templates, and the ledger of submissions."""
