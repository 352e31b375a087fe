"""Photographs from noise."""
