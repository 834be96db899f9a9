"""Figures for papers, and the interactive HTML report."""
