"""derm_photos: the photographs of an annotations.jsonl, as TensorFlow Datasets."""

import abc
import collections
import concurrent.futures
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from dermgan_tf.errors import (
    InputError,
    Reject,
    cause,
    check_reject_fraction,
    write_rejects,
)
from dermgan_tf.pairs.sources import AnnotatedPhoto
from dermgan_tf.pairs.tfds_features import (
    CODE_PATH,
    doc,
    image_id,
    label,
    photo_features,
    roi_examples,
)
from dermgan_tf.photos.annotations import (
    SPLITS,
    PhotoAnnotation,
    case_splits,
    read_annotations,
)
from dermgan_tf.photos.anonymous_ids import (
    anonymous_case_id,
    anonymous_image_id,
    read_salt,
)
from dermgan_tf.photos.photo_io import encode_jpeg, encode_png
from dermgan_tf.photos.vocabulary import Vocabulary


class InputBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder whose data is what the user gives it.

    Any name serves as config, so that one `data_dir` holds several sets:
    `derm_photos/ulcers`, `derm_photos/moles`. A set remembers what it was built of:
    TensorFlow Datasets hands out what stands under a name, and would do so when asked
    for another input.

    Args:
        config: str. The set's name; None = "default".
        **kwargs: data_dir and others of `tfds.core.DatasetBuilder`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="default", description="Any other name will do.")
    ]
    code_path = CODE_PATH

    def __init__(
        self, *, config: str | tfds.core.BuilderConfig | None = None, **kwargs: Any
    ):
        if isinstance(config, str) and config not in self.builder_configs:
            config = tfds.core.BuilderConfig(name=config)
        super().__init__(config=config, **kwargs)

    @abc.abstractmethod
    def _input_digest(self) -> str | None:
        """Tells inputs and options apart; None where no input is named."""

    def download_and_prepare(self, **kwargs: Any) -> None:
        """See `tfds.core.DatasetBuilder`.

        Raises:
            InputError: for an input that cannot be used, or where a set of this name
                was built of another one.
        """
        self._require_same_input()
        super().download_and_prepare(**kwargs)

    def as_data_source(self, *args: Any, **kwargs: Any):
        """See `tfds.core.DatasetBuilder`."""
        self._require_same_input()
        return super().as_data_source(*args, **kwargs)

    def _as_dataset(self, *args: Any, **kwargs: Any):
        self._require_same_input()
        return super()._as_dataset(*args, **kwargs)

    def _require_same_input(self) -> None:
        digest = self._input_digest()
        if digest is None or not self.data_path.exists():
            return
        if self.info.metadata.get("made_of") != digest:
            raise InputError(
                f"{self.data_path} was built of another input, or with other options; "
                f"name this set otherwise, as {self.name}/ANOTHER_NAME, or delete that "
                "folder (tfds build --overwrite does)"
            )

    def _set_conditions(
        self, names: list[str], *labels: tfds.features.ClassLabel
    ) -> None:
        """Sets the names of labels, which are known once the input is read."""
        for feature in labels:
            try:
                feature.names = names
            except ValueError:  # of the set that was just overwritten
                raise InputError(
                    f"{self.info.full_name} had other conditions and is deleted now; "
                    "build it once more"
                ) from None


ANNOTATIONS_FILE = "annotations.jsonl"
SHOWN_REJECTS = 20  # that the log tells one by one

_ENCODERS = {"jpeg": encode_jpeg, "png": encode_png}

_DESCRIPTION = """
The photographs that an annotations.jsonl of dermgan_tf describes. Each is decoded,
turned upright, converted to sRGB and encoded anew, so that nothing is left of EXIF,
GPS, previews and file names. Photographs that cannot be read are left out. Splits are
made by case: as annotated, else 80 % train, 10 % validation, 10 % test by a hash of
the case.

Whoever made the photographs is to be cited.
"""


class DermPhotos(InputBuilder):
    """Annotated photographs.

    Where `annotations` is not given, annotations.jsonl is looked for in the folder
    `manual_dir` of `tfds build` and of `tfds.download.DownloadConfig`.

    Bad photographs and lines are left out and told in the log.

    Args:
        annotations: an annotations.jsonl; see `dermgan_tf.photos.annotations`.
        conditions: names, in the order of the labels. Photographs of others are left
            out. Default: all that occur, in alphabetical order.
        image_format: "jpeg" (quality 95, full colour resolution) or "png" (lossless,
            several times as large).
        max_reject_fraction: float, 0…1. The share of bad photographs and lines above
            which nothing is built.
        rejects: a file to list them all in, as rejects.csv of other programs. It names
            files, so it is no part of the data set.
        anonymize_ids: bool. Whether ids are hashes under a secret salt, as those of
            `prepare_pairs --anonymize_ids`; see `dermgan_tf.photos.anonymous_ids`.
            Splits stay as they are.
        id_salt_file: holds the salt. Default: the environment variable DERMGAN_ID_SALT.
        **kwargs: data_dir, config (any name) and others of `tfds.core.DatasetBuilder`.

    Example:

    >>> ulcers = tfds.load(
    ...     "derm_photos/ulcers",
    ...     builder_kwargs={"annotations": "data/ulcers/annotations.jsonl"},
    ... )
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"The folder holds {ANNOTATIONS_FILE} and the photographs that it names."
    )

    def __init__(
        self,
        *,
        annotations: str | os.PathLike | None = None,
        conditions: Sequence[str] | None = None,
        image_format: str = "jpeg",
        max_reject_fraction: float = 0.1,
        rejects: str | os.PathLike | None = None,
        anonymize_ids: bool = False,
        id_salt_file: str | os.PathLike | None = None,
        **kwargs: Any,
    ):
        if image_format not in _ENCODERS:
            raise InputError(
                f"derm_photos: unknown image_format {image_format!r}; valid: "
                f"{', '.join(_ENCODERS)}"
            )
        self._annotations = None if annotations is None else str(annotations)
        self._conditions = None if conditions is None else Vocabulary(conditions)
        self._encode = _ENCODERS[image_format]
        self._image_format = image_format
        self._max_reject_fraction = max_reject_fraction
        self._rejects_file = None if rejects is None else str(rejects)
        self._anonymize_ids = anonymize_ids
        self._id_salt_file = id_salt_file
        # Of a build.
        self._source = ""
        self._salt: bytes | None = None
        self._rejects: list[Reject] = []
        self._good = 0
        super().__init__(**kwargs)
        self._original_state.update(  # for pickling
            annotations=annotations,
            conditions=conditions,
            image_format=image_format,
            max_reject_fraction=max_reject_fraction,
            rejects=rejects,
            anonymize_ids=anonymize_ids,
            id_salt_file=id_salt_file,
        )

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(None, None, 3), doc=doc("image"))
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(photo_features(image, None)),
            supervised_keys=("image", "condition"),
            metadata=tfds.core.MetadataDict(),
        )

    def _input_digest(self) -> str | None:
        return self._digest(self._annotations) if self._annotations else None

    def _digest(self, path: str) -> str:
        try:
            digest = hashlib.sha256(pathlib.Path(path).read_bytes())
        except OSError as error:
            raise InputError(
                f"cannot read annotations {path}: {error.strerror}"
            ) from None
        names = None if self._conditions is None else self._conditions.conditions
        options = [names, self._image_format, self._anonymize_ids]
        digest.update(json.dumps(options).encode())
        return digest.hexdigest()

    def _split_generators(self, dl_manager) -> dict[str, Iterable]:
        path = self._annotations or _manual_annotations(dl_manager)
        annotations, self._rejects = read_annotations(path)
        self._source, self._good = path, 0
        self._salt = read_salt(self._id_salt_file) if self._anonymize_ids else None
        lines = len(annotations) + len(self._rejects)
        if not lines:
            raise InputError(f"{path} describes no photo")
        check_reject_fraction(self._rejects, lines, self._max_reject_fraction, path)
        self.info.metadata["made_of"] = self._digest(path)
        annotations, names = self._known(annotations)
        of_photo, rois = (self.info.features[key] for key in ("condition", "rois"))
        self._set_conditions(names, of_photo, rois["condition"])
        folder = os.path.dirname(os.path.abspath(path))
        photos: dict[str, list[AnnotatedPhoto]] = {split: [] for split in SPLITS}
        splits = case_splits(annotations)
        for annotation in annotations:
            split = splits[annotation.case_id]
            photos[split].append(AnnotatedPhoto(folder, annotation))
        # TensorFlow Datasets fails at a split without examples, so it must be known
        # beforehand that there is one.
        generators = {}
        for split in SPLITS:
            examples = self._generate_examples(photos[split])
            if first := list(itertools.islice(examples, 1)):
                generators[split] = itertools.chain(first, examples)
        if not generators:
            self._judge_rejects()
            raise InputError(f"{path} has no photo of the conditions asked for")
        return generators

    def _generate_examples(
        self, photos: Sequence[AnnotatedPhoto]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        seen = set()
        for photo, image in zip(photos, _in_order(self._encoded, photos), strict=True):
            annotation = photo.annotation
            photo_id, case_id = self._ids(annotation)
            if photo_id in seen:
                image = Reject(photo.name, "stands twice in the list of photos")
            if isinstance(image, Reject):
                self._rejects.append(image)
                continue
            seen.add(photo_id)
            self._good += 1
            yield (
                photo_id,
                {
                    "image": image,
                    "image_id": photo_id,
                    "case_id": case_id,
                    "condition": label(annotation.condition),
                    "fitzpatrick": annotation.fitzpatrick,
                    "rois": roi_examples(annotation.rois),
                    "source": annotation.source,
                },
            )

    def _download_and_prepare(self, dl_manager, download_config) -> None:
        super()._download_and_prepare(
            dl_manager=dl_manager, download_config=download_config
        )
        if download_config.max_examples_per_split is None:  # else a mere look
            self._judge_rejects()
            self.info.metadata["rejected"] = len(self._rejects)

    def _ids(self, annotation: PhotoAnnotation) -> tuple[str, str]:
        """Of the photo and its case, as the data set tells them."""
        case, name = annotation.case_id, annotation.image
        if self._salt is None:
            return image_id(case, name), case
        return (
            anonymous_image_id(case, name, self._salt),
            anonymous_case_id(case, self._salt),
        )

    def _known(
        self, annotations: Sequence[PhotoAnnotation]
    ) -> tuple[list[PhotoAnnotation], list[str]]:
        """The photos of the conditions asked for, and these."""

        def names(annotation: PhotoAnnotation) -> set[str]:
            found = {annotation.condition, *(roi.condition for roi in annotation.rois)}
            return set(map(label, found))

        occurring = set().union(*map(names, annotations))
        if self._conditions is None:
            return list(annotations), sorted(occurring)
        for name in self._conditions:
            if name not in occurring:  # a slip
                raise InputError(f"{self._source}: no photo has condition {name!r}")
        wanted = set(self._conditions)
        known = [one for one in annotations if names(one) <= wanted]
        if len(known) < len(annotations):
            logging.info(
                "%d photos of other conditions are left out",
                len(annotations) - len(known),
            )
        return known, list(self._conditions)

    def _encoded(self, photo: AnnotatedPhoto) -> bytes | Reject:
        """The photo without anything but its pixels. Runs in a thread."""
        try:
            return self._encode(photo.load().photo)
        except InputError as error:
            reason = cause(error, photo.path)
        # One bad photo must not end the build, whatever its decoder raises.
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        return Reject(photo.name, " ".join(reason.split()))

    def _judge_rejects(self) -> None:
        """Tells of bad items; InputError if they are too many."""
        rejects = self._rejects
        if rejects:
            logging.warning("%d bad items of %s:", len(rejects), self._source)
        for reject in rejects[:SHOWN_REJECTS]:
            logging.warning("  %s: %s", reject.item, reject.reason)
        if len(rejects) > SHOWN_REJECTS and not self._rejects_file:
            logging.warning("  …; all of them with rejects=FILE")
        if self._rejects_file:
            write_rejects(self._rejects_file, rejects)
        check_reject_fraction(
            rejects,
            self._good + len(rejects),
            self._max_reject_fraction,
            self._source,
        )


def _manual_annotations(dl_manager) -> str:
    try:
        return str(dl_manager.manual_dir / ANNOTATIONS_FILE)
    except AssertionError:  # no such folder, or an empty one
        raise InputError(
            "derm_photos needs photographs: give annotations=FILE to the builder, or "
            f"--manual_dir=FOLDER that holds {ANNOTATIONS_FILE}"
        ) from None


def _in_order(work: Callable, jobs: Iterable) -> Iterator:
    """`map(work, jobs)` over threads, with few results waiting."""
    threads = os.cpu_count() or 1
    waiting: collections.deque = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
