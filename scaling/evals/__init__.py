"""Task suites asked of a model: prompts, a batched engine with a cache, scores with intervals."""
