"""Commands that evaluate, or write the texts that evaluations need."""
