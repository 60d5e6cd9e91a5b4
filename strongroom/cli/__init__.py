"""The command line: thin commands over ``strongroom``; the only package that prints."""
