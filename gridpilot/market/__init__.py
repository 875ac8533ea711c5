"""Prices in: sources, their clocks and the quality of what they give."""
