"""The phantom: procedurally drawn clinical skin photographs, the embedded data set.

Every photo is drawn, none shows a person. Skin has the colour of its pigments, lesions
change them, bodies lie in light before clutter, and all of it follows from a seed.
"""

from dermgan_tf.phantom.cases import PhantomCase, case_plan, phantom_vocabulary
from dermgan_tf.phantom.dataset import write_phantom
from dermgan_tf.phantom.drawing import PhantomPhoto, draw_photo

__all__ = [
    "PhantomCase",
    "PhantomPhoto",
    "case_plan",
    "draw_photo",
    "phantom_vocabulary",
    "write_phantom",
]
