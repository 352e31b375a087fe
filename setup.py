"""Installs the library `dermgan_tf` and its programs (see README.md)."""

import pathlib
import runpy

from setuptools import find_packages, setup

PROGRAMS = [
    "quickstart",
    "draw_phantom",
    "import_annotations",
    "describe",
    "find_duplicates",
    "prepare_pairs",
    "train_gan",
    "export_generator",
    "plan_synthetic",
    "generate",
    "evaluate_gan",
    "ablation",
    "tune",
    "train_classifier",
    "compare_classifiers",
    "augmentation_study",
    "prepare_patches",
    "train_lesion_translation",
    "export_translator",
    "translate",
    "evaluate_translator",
    "train_unconditional",
    "export_unconditional",
    "generate_unconditional",
    "evaluate_unconditional",
    "reader_study",
    "studio",
    "image_atlas",
]

setup(
    name="dermgan_tf",
    version=runpy.run_path("dermgan_tf/version.py")["__version__"],
    description="Paint clinical skin photographs from semantic maps, after DermGAN.",
    long_description=pathlib.Path(__file__).with_name("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["dermgan_tf*", "pipelines*"]),
    package_data={
        "dermgan_tf.reports": ["templates/*.html"],
        "dermgan_tf.apps.web": ["templates/*.html", "templates/*/*.html", "static/*"],
    },
    python_requires=">=3.10,<3.14",
    install_requires=[
        "tensorflow>=2.18,<2.22",
        "keras>=3.8,<4",
        "tensorflow-datasets>=4.9.7,<5",
        "numpy>=1.26,<3",
        "scipy>=1.11,<2",
        "scikit-learn>=1.4,<2",
        "statsmodels>=0.14,<1",
        # Other people's annotations.
        "defusedxml>=0.7.1,<1",
        "pyyaml>=6,<7",
        "threadpoolctl>=3,<4",
        # Headless: the same cv2 without libGL, which small servers lack.
        "opencv-python-headless>=4.9,<6",
        "pillow>=10,<13",
        "absl-py>=2,<3",
        "tqdm>=4.66,<5",
        "jinja2>=3.1,<4",
        "matplotlib>=3.8,<4",
        "tensorboard>=2.18,<2.22",
    ],
    extras_require={
        # TF-GAN's own distances and losses; see dermgan_tf/metrics/tfgan.py.
        "tfgan": [
            "tensorflow-gan==2.1.0",
            "tensorflow-probability>=0.24,<0.26",
            "tf_keras>=2.18,<2.22",
            "setuptools<81",
        ],
        # The pages for people: dermgan_tf/web.
        "studio": ["starlette>=0.46,<2", "uvicorn>=0.30,<1"],
        # The image atlas: its store, and its pages; docs/atlas.md.
        "atlas": ["dermgan_tf[studio]", "lancedb>=0.40,<1"],
        # prepare_pairs and generate on many machines; docs/beam.md.
        "beam": ["apache-beam>=2.60,<3"],
        # What the command line of TensorFlow Datasets imports and does not install.
        "tfds": ["apache-beam>=2.60,<3", "mlcroissant>=1.0.9"],
        # tests/metrics/test_peers.py compares distances with it; it needs PyTorch.
        "peers": ["torch-fidelity>=0.4,<0.5"],
        # The peers of benchmarks/; of PyTorch the CPU build is enough.
        "benchmark": ["dermgan_tf[tfgan]", "torch>=2.4"],
        "test": [
            "dermgan_tf[atlas,beam,studio,tfgan]",
            # Ships axe-core's script, which tests of pages run in the browser.
            "axe-core-python>=0.1,<1",
            "dill>=0.3.8",  # for tfds.testing
            "hypothesis>=6.100,<7",
            "import-linter>=2.1,<3",  # make lint
            "jax>=0.4.30",  # the networks run under it too
            "pytest>=8,<10",
            "pytest-xdist>=3.5,<4",
            "ruff>=0.6",
            "selenium>=4.20,<5",  # with the system's Chromium, or tests are skipped
        ],
    },
    entry_points={
        "console_scripts": [
            f"dermgan-{name.replace('_', '-')}=pipelines.{name}:run"
            for name in PROGRAMS
        ],
    },
)
