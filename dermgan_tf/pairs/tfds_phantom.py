"""derm_phantom: drawn clinical skin photographs, made on first use."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds

from dermgan_tf.errors import InputError
from dermgan_tf.pairs.tfds_features import (
    CITATION,
    CODE_PATH,
    doc,
    image_id,
    photo_features,
    roi_examples,
)
from dermgan_tf.phantom import (
    PhantomCase,
    case_plan,
    draw_photo,
    phantom_vocabulary,
)
from dermgan_tf.photos.annotations import SPLITS, split_of_case
from dermgan_tf.photos.semantic_map import encode_semantic_map

_DESCRIPTION = """
Clinical skin photographs drawn by a program, to try things on: skin of all six types
with texture, hair, light and background, and skin conditions that differ in shape,
colour, border and texture. None shows a person; a model trained on them knows nothing
of real skin.

A case (patient visit) has one to six photographs. Conditions have a long tail and skin
types are uneven, as in clinics. Everything follows from the seed. Splits are made by
case: 80 % train, 10 % validation, 10 % test, by a hash of the case.
"""


@dataclasses.dataclass(eq=False)
class DermPhantomConfig(tfds.core.BuilderConfig):
    """Which phantom photographs are drawn.

    Args:
        num_conditions: int, 1…27. The first of a fixed order.
        size: int, at least 64. Height and width of the photographs, pixels.
        cases: int, at least 1. A case has 1…6 photographs, 3 on average.
        seed: int, at least 0. Of everything drawn.
    """

    num_conditions: int = 8
    size: int = 128
    cases: int = 300
    seed: int = 0

    def __post_init__(self):
        least = {"num_conditions": 1, "size": 64, "cases": 1, "seed": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise InputError(
                    f"derm_phantom: {name} is a whole number from {low} on, "
                    f"got {value!r}"
                )
        self.description = (
            f"{self.num_conditions} conditions, {self.size} × {self.size} pixels, "
            f"{self.cases} cases, seed {self.seed}."
        )


class DermPhantom(tfds.core.GeneratorBasedBuilder):
    """Phantom photographs with their semantic maps.

    Other numbers of cases and other seeds than a config's make a set of their own, with
    a name of its own, as 8_conditions_128_50_cases_seed_1.

    Args:
        cases: int. How many cases to draw; None = as the config says.
        seed: int. Of everything drawn; None = as the config says.
        **kwargs: data_dir, config and others of `tfds.core.DatasetBuilder`.

    Example:

    >>> small = tfds.builder("derm_phantom/8_conditions_64", cases=20, seed=1)
    >>> small.download_and_prepare()
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    BUILDER_CONFIGS = [
        DermPhantomConfig(
            name=f"{num_conditions}_conditions_{size}",
            num_conditions=num_conditions,
            size=size,
            # Enough for some photographs of the rarest condition.
            cases={8: 300, 27: 1000}[num_conditions],
        )
        for num_conditions in (8, 27)
        for size in (64, 128, 256)
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "8_conditions_128"
    code_path = CODE_PATH

    def __init__(
        self,
        *,
        config: str | DermPhantomConfig | None = None,
        cases: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        if cases is not None or seed is not None:
            config = self._changed(config, cases, seed)
        super().__init__(config=config, **kwargs)

    @classmethod
    def _changed(
        cls, config: str | DermPhantomConfig | None, cases: int | None, seed: int | None
    ) -> DermPhantomConfig:
        if not isinstance(config, DermPhantomConfig):
            name = config or cls.DEFAULT_BUILDER_CONFIG_NAME
            config = cls.builder_configs.get(name)
            if config is None:
                raise InputError(
                    f"derm_phantom has no config {name!r}; it has: "
                    f"{', '.join(cls.builder_configs)}"
                )
        name = config.name
        if cases not in (None, config.cases):
            name += f"_{cases}_cases"
        if seed not in (None, config.seed):
            name += f"_seed_{seed}"
        if name == config.name:
            return config
        return dataclasses.replace(
            config,
            name=name,
            cases=config.cases if cases is None else cases,
            seed=config.seed if seed is None else seed,
        )

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        shape = (config.size, config.size, 3)
        image, semantic_map = (
            tfds.features.Image(shape=shape, encoding_format="png", doc=doc(name))
            for name in ("image", "semantic_map")
        )
        features = photo_features(image, phantom_vocabulary(config.num_conditions))
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {**features, "semantic_map": semantic_map}
            ),
            supervised_keys=("image", "condition"),
            citation=CITATION,
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        config = self.builder_config
        vocabulary = phantom_vocabulary(config.num_conditions)
        cases = case_plan(config.cases, vocabulary, config.seed)
        by_split = {
            split: [case for case in cases if split_of_case(case.case_id) == split]
            for split in SPLITS
        }
        # A few cases may leave a split empty.
        return {
            split: self._generate_examples(cases)
            for split, cases in by_split.items()
            if cases
        }

    def _generate_examples(
        self, cases: Sequence[PhantomCase]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        size = self.builder_config.size
        vocabulary = phantom_vocabulary(self.builder_config.num_conditions)
        for case in cases:
            for index in range(case.num_photos):
                drawn = draw_photo(case, index, vocabulary, (size, size))
                name = image_id(case.case_id, f"{case.case_id}/{index}")
                yield (
                    name,
                    {
                        "image": drawn.photo,
                        "semantic_map": encode_semantic_map(
                            size, drawn.fitzpatrick, drawn.rois, vocabulary
                        ),
                        "image_id": name,
                        "case_id": case.case_id,
                        "condition": drawn.condition,
                        "fitzpatrick": drawn.fitzpatrick,
                        "rois": roi_examples(drawn.rois),
                        "source": "phantom",
                    },
                )
