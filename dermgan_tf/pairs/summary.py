"""What a folder of pairs or patches says of itself: counts, shares, sheets."""

import collections
import hashlib
import heapq
import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.pairs.cutting import PhotoPairs, PhotoPatches
from dermgan_tf.pairs.pairs import SPLITS
from dermgan_tf.pairs.patches import DOMAIN_SPLITS
from dermgan_tf.pairs.windows import Shares
from dermgan_tf.photos import photo_io
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.photos.vocabulary import Vocabulary

# Of a sheet of pairs; and of patches, by domain.
PAIRS_ROWS, PAIRS_PER_ROW = 6, 4
PATCHES_ROWS, PATCHES_PER_ROW = 4, 8


class PairsSummary:
    """Counts what was written and keeps a small sample of it for the sheets."""

    def __init__(self):
        self.crops: collections.Counter = collections.Counter()
        self.sources: set[str] = set()
        self._photos: collections.Counter = collections.Counter()
        self._cases: dict[str, set[str]] = collections.defaultdict(set)
        self._conditions: dict[str, list[int]] = {}
        self._shares: dict[str, list[tuple[float, float]]] = collections.defaultdict(
            list
        )
        # By (split, condition) the pairs of lowest digest: a sample that depends on
        # nothing but the pairs.
        self._samples: dict[tuple[str, str], list] = collections.defaultdict(list)

    def add(self, outcome: PhotoPairs) -> None:
        split = outcome.split
        self._photos[split] += 1
        for name, shares in outcome.skin_shares.items():
            self._shares[name].append(shares)
        for i, pair in enumerate(outcome.pairs):
            self.crops[split] += 1
            self.sources.add(pair["source"])
            self._cases[split].add(pair["case_id"])
            by_type = self._conditions.setdefault(pair["condition"], [0] * 7)
            by_type[pair["fitzpatrick"]] += 1
            key = hashlib.sha256(f"{outcome.image_id}/{i}".encode()).digest()
            sample = self._samples[split, pair["condition"]]
            # Highest digest first in the heap, to be pushed out by a lower one.
            entry = (-int.from_bytes(key, "big"), pair["image"], pair["semantic_map"])
            if len(sample) < PAIRS_ROWS * PAIRS_PER_ROW:
                heapq.heappush(sample, entry)
            else:
                heapq.heappushpop(sample, entry)

    def as_json(self) -> dict[str, Any]:
        splits = [split for split in SPLITS if self.crops[split]]
        return {
            "crops": {split: self.crops[split] for split in splits},
            "photos": {split: self._photos[split] for split in splits},
            "cases": {split: len(self._cases[split]) for split in splits},
            "conditions": dict(sorted(self._conditions.items())),
            "skin_share": {
                name: _compare(np.array(shares))
                for name, shares in sorted(self._shares.items())
            },
        }

    def sheet(self, split: str, vocabulary: Vocabulary) -> np.ndarray:
        """Crops with their maps beside them, a row or more for each condition."""
        present = [name for name in vocabulary if (split, name) in self._samples]
        rows_each = math.ceil(PAIRS_ROWS / len(present))
        rows, labels = [], []
        for name in present:
            sample = sorted(self._samples[split, name], reverse=True)
            sample = sample[: rows_each * PAIRS_PER_ROW]
            for start in range(0, len(sample), PAIRS_PER_ROW):
                row = sample[start : start + PAIRS_PER_ROW]
                rows.append(
                    [_decode_png(bytes(data)) for _, *pair in row for data in pair]
                )
                labels.append(name)
        title = f"{split}: {self.crops[split]} crops of {self._photos[split]} photos"
        return contact_sheet(rows, row_labels=labels, title=title, cell=128)


class PatchesSummary:
    """Counts what was written and keeps a small sample of it for the sheets."""

    def __init__(self):
        self._patches: collections.Counter = collections.Counter()
        self._photos: collections.Counter = collections.Counter()
        self._cases: dict[str, set[str]] = collections.defaultdict(set)
        self._sides: dict[str, list[int]] = collections.defaultdict(list)
        self._shares: dict[str, list[tuple]] = collections.defaultdict(list)
        self._samples: dict[str, list] = collections.defaultdict(list)
        self._sources: set[str] = set()
        self._conditions: set[str] = set()
        self._bare = 0

    def add(self, outcome: PhotoPatches) -> None:
        self._bare += not outcome.patches
        for domain, patches in outcome.patches.items():
            name = f"{outcome.job.split}_{domain}"
            self._patches[name] += len(patches)
            self._photos[name] += 1
            self._cases[name].add(outcome.job.case_id)
            self._sides[domain] += outcome.sides[domain]
            if domain == "pathology":
                self._conditions.add(outcome.job.photo.condition)
            for i, patch in enumerate(patches):
                self._sources.add(patch["source"])
                share = patch["skin_share"], patch["pathology_share"]
                self._shares[domain].append(share)
                self._sample(name, f"{outcome.job.image_id}/{i}", patch)

    def _sample(self, name: str, key: str, patch: dict[str, Any]) -> None:
        """Keeps those of lowest digest: a sample that depends on the patches alone."""
        digest = hashlib.sha256(key.encode()).digest()
        pictures = [patch["image"], patch["mask"], *patch["twin"]]
        sample = self._samples[name]
        sample.append((digest, pictures))
        sample.sort()
        del sample[PATCHES_ROWS * PATCHES_PER_ROW :]

    def require_both_domains(self, shares: Mapping[str, Shares]) -> None:
        for domain in ("healthy", "pathology"):
            if not self._patches[f"train_{domain}"]:
                skin, pathology = shares[domain].skin, shares[domain].pathology
                raise InputError(
                    f"the training split has no {domain} patch: no window shows skin "
                    f"{skin[0]:g} to {skin[1]:g} and pathology {pathology[0]:g} to "
                    f"{pathology[1]:g}; allow other shares, smaller patches or give "
                    f"more photos"
                )

    def as_json(self) -> dict[str, Any]:
        names = [name for name in DOMAIN_SPLITS if self._patches[name]]
        domains = sorted(self._shares)
        means = {d: np.mean(self._shares[d], axis=0) for d in domains}
        return {
            "source": "+".join(sorted(self._sources)),
            "conditions": sorted(self._conditions),
            "patches": {name: self._patches[name] for name in names},
            "photos": {name: self._photos[name] for name in names},
            "cases": {name: len(self._cases[name]) for name in names},
            "skin_share": {d: round(float(means[d][0]), 4) for d in domains},
            "pathology_share": {d: round(float(means[d][1]), 4) for d in domains},
            "side": {d: float(np.median(self._sides[d])) for d in domains},
            "photos_without_patch": self._bare,
        }

    def sheet(self, split: str) -> bytes | None:
        """Healthy patches above, below those of pathology with masks and twins: PNG."""
        rows, labels = [], []
        for domain, shown in (("healthy", 1), ("pathology", 3)):
            name = f"{split}_{domain}"
            cells = [
                [_decode_png(data) for data in pictures[:shown]]
                for _, pictures in self._samples[name]
            ]
            width = max((len(group) for group in cells), default=1)
            for start in range(0, len(cells), each := PATCHES_PER_ROW // width):
                groups = cells[start : start + each]
                rows.append([picture for group in groups for picture in group])
                labels.append(domain)
        if not rows:
            return None
        counts = [
            f"{self._patches[f'{split}_{domain}']} {domain}"
            for domain in ("healthy", "pathology")
        ]
        title = f"{split}: {' and '.join(counts)} patches"
        sheet = contact_sheet(
            rows[: 2 * PATCHES_ROWS], row_labels=labels, title=title, cell=128
        )
        return photo_io.encode_png(sheet)


def _compare(shares: np.ndarray) -> dict[str, Any]:
    """Means over photos of (ours, random) and their difference with its interval."""
    difference = shares[:, 0] - shares[:, 1]
    error = 1.96 * difference.std(ddof=1) / len(shares) ** 0.5 if len(shares) > 1 else 0
    ours, random = shares.mean(axis=0)
    mean = difference.mean()
    return {
        "photos": len(shares),
        "ours": round(float(ours), 4),
        "random": round(float(random), 4),
        "difference_95": [round(float(mean - error), 4), round(float(mean + error), 4)],
    }


def _decode_png(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
