"""Read-only over runs: figures and the commands that draw them."""
