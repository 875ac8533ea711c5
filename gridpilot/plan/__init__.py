"""Battery and flexible load over the forecast, and the independent safety check."""
