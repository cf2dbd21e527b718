"""Contextual bandits: choose among eligible actions, log the probability of each choice, learn from late rewards."""
