"""Words to classifiers: prompts, zero-shot heads."""
