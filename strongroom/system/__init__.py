"""What touches the operating system alone: forks, files, locks, deadlines, waits, the garbage collector."""
