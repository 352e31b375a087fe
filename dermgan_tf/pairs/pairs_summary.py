"""What a pairs folder says of itself: counts, shares of skin, sheets of examples."""

import collections
import hashlib
import heapq
import math
from typing import Any

import cv2
import numpy as np

from dermgan_tf.pairs.cutting import PhotoPairs
from dermgan_tf.pairs.pairs import SPLITS
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.photos.vocabulary import Vocabulary

SHEET_ROWS, SHEET_PAIRS_PER_ROW = 6, 4


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
            if len(sample) < SHEET_ROWS * SHEET_PAIRS_PER_ROW:
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
        rows_each = math.ceil(SHEET_ROWS / len(present))
        rows, labels = [], []
        for name in present:
            sample = sorted(self._samples[split, name], reverse=True)
            sample = sample[: rows_each * SHEET_PAIRS_PER_ROW]
            for start in range(0, len(sample), SHEET_PAIRS_PER_ROW):
                row = sample[start : start + SHEET_PAIRS_PER_ROW]
                rows.append(
                    [_decode_png(bytes(data)) for _, *pair in row for data in pair]
                )
                labels.append(name)
        title = f"{split}: {self.crops[split]} crops of {self._photos[split]} photos"
        return contact_sheet(rows, row_labels=labels, title=title, cell=128)


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
