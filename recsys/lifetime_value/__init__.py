"""What customers are worth: purchases and spend where anyone may stop at any time, margin times survival elsewhere."""
