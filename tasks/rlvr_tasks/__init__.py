"""Where prompts and gold answers come from. Never torch."""
