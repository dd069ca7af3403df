"""One file a command of `rlvr` that is more than a few lines."""
