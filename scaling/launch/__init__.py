"""Sweeps on clusters: the slice of each run, the scripts and manifests, the ledger of submissions."""
