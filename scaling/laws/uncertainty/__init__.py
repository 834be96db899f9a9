"""Uncertainty of a fit: bootstrap, curvature, profiles, limits, hold-outs and sensitivity."""
