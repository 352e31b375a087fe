"""Keras finds this library's classes by the names that saved files give them."""

import importlib
import importlib.abc
import importlib.util
import sys
from typing import Any

# Registered class -> the module that defines it.
MODULES = {
    "Adam": "training.optimizer",
    "ConditionPlanes": "layers.condition_planes",
    "ConstantThenLinear": "training.optimizer",
    "CycleGAN": "models.translation.cyclegan",
    "DermGAN": "models.dermgan.model",
    "Generator": "models.dermgan.networks",
    "GroupNorm": "layers.group_norm",
    "HideMasked": "models.translation.networks",
    "LesionTranslation": "models.translation.model",
    "PatchLogits": "models.dermgan.networks",
    "ResizeConv2D": "layers.resize_conv2d",
    "SeededDropout": "layers.seeded_random",
    "SeededNoise": "layers.seeded_random",
    "UnconditionalGAN": "models.unconditional.model",
}


class _Unloaded:
    """Stands in Keras' registry for a class until its module registers it."""

    def __init__(self, name: str):
        self.name = name

    def from_config(self, config: dict[str, Any]) -> Any:
        module = importlib.import_module(f"dermgan_tf.{MODULES[self.name]}")
        return getattr(module, self.name).from_config(config)


class _WhenKerasLoads(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module):
                execute(module)
                _register(module)

            spec.loader.exec_module = execute_and_register
        return spec


def register_saved_classes() -> None:
    """Registers the classes with Keras, now or when it is imported; loads nothing."""
    if "keras" in sys.modules:
        _register(sys.modules["keras"])
    else:
        sys.meta_path.insert(0, _WhenKerasLoads())


def _register(keras) -> None:
    registry = keras.saving.get_custom_objects()
    for name in MODULES:
        registry.setdefault(f"dermgan_tf>{name}", _Unloaded(name))
