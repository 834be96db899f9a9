"""The compute-optimal frontier by every approach, and what a law does with a budget."""
