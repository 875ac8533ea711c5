"""What the pages share: shell, theme, charts, formatting."""
