"""Which questions are answered from memory within a millisecond, so that the event loop answers them itself."""

import json

from serving.answers import Answers

PATHS = ("/recommend", "/segment")
FIELDS = {"customer_id", "k", "exclude"}
"""With these alone nothing is computed but the ranking."""
LONGEST = 1000
"""Bytes of a body; a list of customers is longer, or has another field."""


def at_hand(answers: Answers, path: str, body: bytes) -> bool:
    """Whether all that an answer needs is in memory.

    It is about one known customer of a lake, seen today already, and what rules leave of the products was worked out.
    Customers of a store are not: each answer asks the database, and the loop waits for none.
    """
    if path not in PATHS or len(body) > LONGEST or answers.known is None:
        return False
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(fields, dict) or not fields.keys() <= FIELDS:
        return False
    name = fields.get("customer_id")
    seen = answers.known.at_hand(name, answers.as_of) if isinstance(name, str) else None
    unruled = path == "/segment" or answers.customers.rules is None
    return seen is not None and (unruled or seen.eligibility is not None)
