"""What the plan may lose."""
