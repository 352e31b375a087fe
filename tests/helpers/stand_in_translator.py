"""A translator of known behaviour, where a loaded SavedModel stands otherwise."""

import numpy as np

from dermgan_tf.models.translation.served import SavedTranslator

PAINT = {"add": (120, 40, 50), "remove": (205, 160, 135)}


class StandIn(SavedTranslator):
    """Fills masks with one colour; `outside` is added to all else, in levels."""

    def __init__(self, direction, trained_on="", pathology=("spot",), outside=0):
        super().__init__(
            None,
            {
                "image_size": 16,
                "translator": f"{direction}{'0' * 60}",
                "composed": True,
                "provenance": {
                    "direction": direction,
                    "pathology": list(pathology),
                    "data_fingerprint": trained_on,
                },
            },
        )
        self.outside = outside

    def translate(self, photos, masks):
        assert masks.dtype == bool and photos.dtype == np.uint8
        changed = photos + np.uint8(self.outside)
        changed[masks] = PAINT[self.direction]
        return changed

    def translate_photo(self, photo, mask):
        if not mask.any():
            return photo
        return self.translate(photo[np.newaxis], mask[np.newaxis])[0]
