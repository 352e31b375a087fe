"""Numbers become pages, figures and tables."""
