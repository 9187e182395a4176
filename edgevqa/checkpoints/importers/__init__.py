"""Published checkpoints to checkpoint folders: one file a layout, each a table of their names beside ours."""
