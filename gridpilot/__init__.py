"""GridPilot-GT: operator console and decision engine for sites with flexible compute."""

__version__ = "0.1.0"
