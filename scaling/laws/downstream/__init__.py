"""From loss to the error of tasks: fits averaged by evidence, and the chain from a budget to an error."""
