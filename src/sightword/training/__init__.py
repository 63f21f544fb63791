"""A recipe to a run: build, loop, optimizer, snapshots, log."""
