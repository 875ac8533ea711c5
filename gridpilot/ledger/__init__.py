"""Everything that happened, append-only and hash-chained."""
