"""What a command says and asks: streams, prompts, progress, signals, errors."""
