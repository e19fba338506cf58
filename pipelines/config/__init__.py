"""Load a YAML config, apply overrides and validate it."""
