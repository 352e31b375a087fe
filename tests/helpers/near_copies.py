"""Photos that are all different, and what people do to them."""

import io

import cv2
import numpy as np
from PIL import Image


def textures(count, seed=0, size=(180, 240)):
    """Coloured noise of many scales, as photographs have: np.uint8 [H, W, 3] each."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        photo = np.full((*size, 3), rng.uniform(90, 170, 3))
        for deviation in (3, 9, 27):
            noise = cv2.GaussianBlur(rng.normal(size=(*size, 3)), (0, 0), deviation)
            photo += 22 * noise / noise.std()
        made.append(np.clip(photo, 0, 255).astype(np.uint8))
    return made


def jpeg(photo, quality):
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def halved(photo):
    height, width = photo.shape[:2]
    return np.asarray(Image.fromarray(photo).resize((width // 2, height // 2)))


def cropped(photo, share=0.03):
    height, width = photo.shape[:2]
    y, x = round(share * height), round(share * width)
    return photo[y : height - y, x : width - x]


# kind, what is done
COPIES = {
    "half": ("resaved", halved),
    "half at quality 50": ("resaved", lambda photo: jpeg(halved(photo), 50)),
    "quality 50": ("resaved", lambda photo: jpeg(photo, 50)),
    "brighter": (
        "resaved",
        lambda p: jpeg(np.clip(p + 10.0, 0, 255).astype(np.uint8), 90),
    ),
    "mirrored": ("mirrored", lambda photo: jpeg(photo[:, ::-1], 90)),
    "upside down": ("turned", lambda photo: jpeg(photo[::-1, ::-1], 90)),
    "turned": ("turned", lambda photo: jpeg(np.rot90(photo), 90)),
    "turned back": ("turned", lambda photo: jpeg(halved(np.rot90(photo, 3)), 90)),
    "turned mirror": ("mirrored", lambda photo: jpeg(photo.swapaxes(0, 1), 90)),
    "cropped": ("cropped", lambda photo: jpeg(cropped(photo), 90)),
}
