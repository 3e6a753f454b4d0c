"""Papers: one file each, that a reader can run and change."""
