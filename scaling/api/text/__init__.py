"""Results as text and HTML: what the commands print, and what a notebook shows."""
