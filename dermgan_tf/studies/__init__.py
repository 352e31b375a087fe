"""Many runs held against each other."""
