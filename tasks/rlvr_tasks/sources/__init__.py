"""One file a source; each is a function that gives a sequence of tasks."""
