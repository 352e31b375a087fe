"""What people use in a browser."""
