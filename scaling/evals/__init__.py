"""Task suites evaluated on a model: prompts, batched inference with a cache, scores with intervals."""
