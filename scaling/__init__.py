"""A laboratory for scaling language models: what it costs, how it trains, which law it obeys."""

__version__ = "0.1.0"
