"""Weights from elsewhere: checkpoints in the Hugging Face layout (config.json beside safetensors), both ways.

No torch here: safetensors are read and written as NumPy arrays, and pickled checkpoints are not read at all.
"""
