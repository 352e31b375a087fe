"""A photograph and what is known of it: pixels, annotation, map, skin tone. No
TensorFlow."""
