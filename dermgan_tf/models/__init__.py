"""The trained painters, side by side."""
