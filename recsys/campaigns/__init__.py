"""Campaigns: whether they worked, what they earned, and whom to contact next."""
