"""The next hours of energy, hash and token price, with bands and joint paths."""
