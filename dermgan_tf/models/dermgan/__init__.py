"""DermGAN: a photograph from a semantic map."""
