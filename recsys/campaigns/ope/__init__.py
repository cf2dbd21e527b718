"""Off-policy evaluation: what a policy would have earned, told from decisions that another policy drew and logged."""
