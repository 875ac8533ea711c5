"""Plan to whole machines, sent and read back."""
