"""The `gateway` command: one file per command group, no logic."""
