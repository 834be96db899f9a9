"""Sweeps: the design of runs, their execution, and the ledger of what is done."""
