"""Built-in environments, one a file. All are deterministic, and keep nothing outside their instance."""
