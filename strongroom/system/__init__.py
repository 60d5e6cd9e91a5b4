"""What touches the operating system alone: forks, files, deadlines, the garbage collector."""
