"""`studio` as people start it."""

import http.client
import re
import shutil
import signal

import pytest
import tensorflow as tf

from tests.helpers.browser import Served
from tests.helpers.forked_programs import run_program
from tests.helpers.tiny_saved_model import VOCABULARY

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")


def status(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse().status
    connection.close()
    return answer


def test_it_serves_until_it_is_stopped(vivid_saved_model):
    names = f"--vocabulary={','.join(VOCABULARY)}"
    running = Served(vivid_saved_model, names, "--condition=SK/ISK", program="studio")
    running.wait(300)
    assert re.fullmatch(
        r"generator [0-9a-f]{8}: 64 × 64 pixels, 4 conditions \(melanoma, SK/ISK, "
        r"vitiligo, healthy skin\)\n",
        running.lines[0],
    )
    assert running.lines[1] == f"open {running.url}/\n"
    assert running.url.startswith("http://127.0.0.1:")
    assert status(running.port, "/") == 200
    taken = run_program(
        "studio", f"--saved_model={vivid_saved_model}", f"--port={running.port}"
    )
    assert taken.returncode == 1 and "is in use" in taken.stderr
    running.kill(signal.SIGTERM)
    assert running.process.returncode == 0 and running.process.stderr.read() == ""


@pytest.mark.slow
def test_other_machines_need_a_token(vivid_saved_model):
    url = "--public_url=http://studio.example:8000"
    running = Served(vivid_saved_model, "--host=0.0.0.0", url, program="studio").wait()
    (token,) = re.findall(r"#token=(\S{32,})\n", running.lines[1])
    assert running.url == "http://studio.example:8000" and token
    running.kill(signal.SIGTERM)


def error_of(done):
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    return done.stderr


def start(folder, *flags):
    return run_program("studio", f"--saved_model={folder}", "--port=0", *flags)


def test_what_does_not_fit_is_one_line(vivid_saved_model, tmp_path):
    assert "has no saved_model.pb" in error_of(start(tmp_path))
    other = "--vocabulary=melanoma,vitiligo,SK/ISK,healthy skin"
    assert "vocabularies differ at position 1: --vocabulary has 'vitiligo'" in (
        error_of(start(vivid_saved_model, other))
    )
    assert "stands twice" in error_of(start(vivid_saved_model, "--vocabulary=a,a"))
    assert "unknown condition 'mole'; known: melanoma" in (
        error_of(start(vivid_saved_model, "--condition=mole"))
    )
    assert "say by --public_url" in error_of(start(vivid_saved_model, "--host=0.0.0.0"))
    assert "want 16 or more" in error_of(start(vivid_saved_model, "--token=short"))
    done = start(vivid_saved_model, "--fitzpatrick=7")
    assert done.returncode == 2 and "--fitzpatrick=7" in done.stderr


def test_damaged_and_foreign_models_are_one_line(vivid_saved_model, tmp_path):
    damaged = shutil.copytree(vivid_saved_model, tmp_path / "damaged")
    data = next(damaged.glob("variables/*.data*"))
    data.write_bytes(data.read_bytes()[:100])
    assert "is damaged" in error_of(start(damaged))

    foreign = tf.Module()
    foreign.twice = tf.function(
        lambda x: {"image": 2 * x}, input_signature=[tf.TensorSpec([None])]
    )
    path = tmp_path / "foreign"
    tf.saved_model.save(
        foreign, str(path), signatures={"serving_default": foreign.twice}
    )
    assert "is not a dermgan_tf generator" in error_of(start(path))
