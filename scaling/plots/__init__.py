"""Figures and the report: what a sweep looks like, on paper and in a browser."""
