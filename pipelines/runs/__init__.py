"""What a training leaves on disk: its folder, its checkpoints, its environment."""
