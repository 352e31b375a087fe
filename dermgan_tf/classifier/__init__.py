"""Labelled images, the network that tells conditions, and its predictions."""
