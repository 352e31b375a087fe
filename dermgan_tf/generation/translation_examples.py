"""What a translator is applied to: patches of one domain, with masks of pathology.

To remove, patches of pathology with their own masks. To add, healthy patches; on each
are laid masks of the same split's patches of pathology.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence

import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.models.translation.model import DIRECTIONS
from dermgan_tf.pairs.patches import read_patches, read_patches_info, require_domain

# By direction, the domain that is changed, and the one that it is to become.
SOURCE_DOMAIN = {"add": "healthy", "remove": "pathology"}
WANTED_DOMAIN = {"add": "pathology", "remove": "healthy"}


@dataclasses.dataclass(frozen=True)
class TranslationExample:
    """A patch, and where it is to change.

    Args:
        photo: np.uint8 [S, S, 3].
        mask: bool [S, S].
        patch: int. Its position in its domain of the split.
        mask_patch: int. The mask's, among the patches of pathology.
        case_id: str. The photo's case.
        mask_case_id: str. The mask's.
        twin: np.uint8 [S, S, 3], the true picture of what is asked for, or None.
    """

    photo: np.ndarray
    mask: np.ndarray
    patch: int
    mask_patch: int
    case_id: str
    mask_case_id: str
    twin: np.ndarray | None = None


class TranslationExamples:
    """The examples of a split, in the order of its patches; to be gone through often.

    Photos are read as they are needed; of masks all are held, a bit a pixel.

    Args:
        data_dir: a folder that `prepare_patches` wrote.
        split: "train", "validation" or "test".
        direction: "add" or "remove".
        seed: int. Of which mask is laid on which healthy patch: each is laid as often
            as any other, in an order that the seed draws.
        masks_per_patch: int ≥ 1. Masks that are laid on each healthy patch.
        positions: those of the patches that are taken; None = all.

    Raises:
        InputError: for a folder that holds no patches, an empty domain, or several
            masks where there is nothing to lay.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike,
        split: str,
        direction: str,
        seed: int = 0,
        masks_per_patch: int = 1,
        positions: Sequence[int] | None = None,
    ):
        if direction not in DIRECTIONS:
            raise InputError(f"direction {direction!r}: want add or remove")
        if masks_per_patch < 1 or (masks_per_patch > 1 and direction == "remove"):
            raise InputError(
                f"{masks_per_patch} masks per patch: want 1 or more, and 1 to remove, "
                "which has its own mask"
            )
        info = read_patches_info(data_dir)
        domain = SOURCE_DOMAIN[direction]
        self._where = data_dir, split, domain
        self._total = info.counts[require_domain(data_dir, info, split, domain)]
        self._wanted = set(range(self._total) if positions is None else positions)
        self._each, self._masks = masks_per_patch, None
        if direction == "add":
            require_domain(data_dir, info, split, "pathology")
            self._masks = [
                (np.packbits(patch["mask"]), patch["case_id"])
                for patch in read_patches(data_dir, split, "pathology")
            ]
            self._order = mask_order(
                self._total * masks_per_patch, len(self._masks), seed
            )

    def __len__(self) -> int:
        return len(self._wanted) * self._each

    def __iter__(self) -> Iterator[TranslationExample]:
        for position, patch in enumerate(read_patches(*self._where)):
            if position not in self._wanted:
                continue
            photo, case = patch["image"], patch["case_id"]
            if self._masks is None:
                yield TranslationExample(
                    *(photo, patch["mask"], position, position, case, case),
                    patch["twin"],
                )
                continue
            for number in range(position * self._each, (position + 1) * self._each):
                which = int(self._order[number])
                packed, mask_case = self._masks[which]
                mask = np.unpackbits(packed, count=photo[..., 0].size).astype(bool)
                mask = mask.reshape(photo.shape[:2])
                yield TranslationExample(photo, mask, position, which, case, mask_case)


def mask_order(count: int, masks: int, seed: int) -> np.ndarray:
    """`count` of `masks` positions, each as often as any other, give or take one."""
    rng = np.random.default_rng(seed)
    rounds = -(-count // masks)
    return np.concatenate([rng.permutation(masks) for _ in range(rounds)])[:count]
