"""The page on which a map is drawn and painted."""
