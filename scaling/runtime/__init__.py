"""What the process and its files need, whatever is computed: errors, atomic files, YAML, the environment."""
