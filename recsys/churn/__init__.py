"""Who will leave: labels, models and their answers."""
