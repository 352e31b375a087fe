"""What a run logs, and what is cut off when it resumes."""

from dermgan_tf.training.logs import cut_history, read_history


def test_cut_history(tmp_path):
    path = tmp_path / "history.csv"
    cut_history(path, 0)
    assert not path.exists()
    path.write_text("step,loss\r\n10,1.5\r\n20,2.5\r\n30,3.")
    cut_history(path, 20)
    assert path.read_bytes() == b"step,loss\r\n10,1.5\r\n20,2.5\r\n"
    cut_history(path, 10)
    assert read_history(path) == [{"step": 10.0, "loss": 1.5}]
