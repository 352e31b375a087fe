"""Adding and removing pathology in a photograph."""
