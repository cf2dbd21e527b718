"""Whom to keep, by what, at what cost: from chances to leave and values at stake to a list that can be judged later."""
