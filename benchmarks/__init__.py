"""Speed and memory of dermgan_tf, measured beside its peers in one run."""
