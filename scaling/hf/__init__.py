"""Import and export of checkpoints in the Hugging Face layout: config.json and safetensors.

Without torch: safetensors are read and written as NumPy arrays; pickled checkpoints are not read.
"""
