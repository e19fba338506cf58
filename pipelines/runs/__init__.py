"""Run folders on disk: files, checkpoints and environment."""
