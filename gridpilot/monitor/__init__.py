"""P&L and the health of the system itself."""
