"""What people's own code imports."""

import subprocess
import sys

import dermgan_tf as dg


def test_all_names_resolve():
    for name in dg.__all__:
        assert getattr(dg, name) is not None
    assert set(dg.__all__) <= set(dir(dg))


def test_functions_of_public_modules():
    assert callable(dg.losses.reconstruction_loss)
    assert callable(dg.metrics.frechet_distance)
    assert callable(dg.metrics.kernel_distance)
    assert callable(dg.metrics.precision_recall)
    assert callable(dg.skin_tone.ita_degrees)


def test_data_modules_do_not_load_tensorflow():
    """Worker processes import these; each would pay seconds and memory."""
    code = (
        "import sys, dermgan_tf as dg\n"
        "from dermgan_tf import phantom\n"
        "from dermgan_tf.pairs import windows\n"
        "from dermgan_tf.photos import annotations, photo_io, skin_tone\n"
        "dg.Vocabulary, dg.encode_semantic_map\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
