"""One question about a generator a module: plain things in, JSON values out."""
