"""Sweeps: the design of runs, their cost and execution, the ledger, the evaluation of runs."""
