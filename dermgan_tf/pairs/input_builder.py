"""What the builders of a user's own data share: sets do not get mixed up."""

import abc
from typing import Any

import tensorflow_datasets as tfds

from dermgan_tf.errors import InputError
from dermgan_tf.pairs.tfds_features import CODE_PATH


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
