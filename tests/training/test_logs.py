"""What a run logs, and what is cut off when it goes on."""

import tensorflow as tf

from dermgan_tf.training.logs import cut_history, cut_summaries, read_history
from tests.helpers.run_files import summary_values


def test_cut_history(tmp_path):
    path = tmp_path / "history.csv"
    cut_history(path, 0)
    assert not path.exists()
    path.write_text("step,loss\r\n10,1.5\r\n20,2.5\r\n30,3.")
    cut_history(path, 20)
    assert path.read_bytes() == b"step,loss\r\n10,1.5\r\n20,2.5\r\n"
    cut_history(path, 10)
    assert read_history(path) == [{"step": 10.0, "loss": 1.5}]


def test_cut_summaries(tmp_path):
    def log(steps):
        writer = tf.summary.create_file_writer(str(tmp_path))
        for step in steps:
            with writer.as_default(step=step):
                tf.summary.scalar("loss", 1.0)
        writer.close()

    cut_summaries(tmp_path / "none", 10)
    log([10, 20])
    log([30, 40, 50])
    last = max(tmp_path.iterdir())
    last.write_bytes(last.read_bytes()[:-3])  # killed while writing
    cut_summaries(tmp_path, 30)
    log([35])
    assert list(summary_values(tmp_path, "loss")) == [10, 20, 30, 35]
    assert len(list(tmp_path.iterdir())) == 3
