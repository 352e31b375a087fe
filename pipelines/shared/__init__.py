"""What several programs share: flags, errors, pages."""
