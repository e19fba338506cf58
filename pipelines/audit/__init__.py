"""Find faults of the data: duplicates, leaks, wrong labels and shifts between splits."""
