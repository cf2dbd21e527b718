"""What a contact adds: who is compared with whom, and how a ranking by expected effect is judged."""
