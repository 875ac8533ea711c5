"""A page that draws by accident, and then fails with something in its message that nobody should read."""

from __future__ import annotations

"drawn-by-accident-4718"
raise RuntimeError("planted-in-a-message-4719")
