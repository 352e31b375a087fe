"""Strategies that a machine cannot give are refused at once, and say why."""

import contextlib
import json
import socket
import threading

import pytest
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.training.strategies import STRATEGIES, make_strategy


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)


def test_one_device_costs_nothing():
    assert make_strategy("auto") is make_strategy("one_device")
    assert make_strategy("one_device") is tf.distribute.get_strategy()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mirrored", "needs several devices, this machine has one"),
        ("multi_worker", "needs the environment variable TF_CONFIG .*: {"),
        ("tpu", "needs the TPU's name or address"),
        ("quantum", "unknown strategy 'quantum'; known: auto, one_device, "),
    ],
)
def test_strategies_that_this_machine_cannot_give(name, message):
    with pytest.raises(InputError, match=message):
        make_strategy(name)


@pytest.mark.parametrize("name", [n for n in STRATEGIES if n not in ("auto", "tpu")])
def test_tpu_is_named_for_another_strategy(name):
    with pytest.raises(InputError, match="a TPU is named"):
        make_strategy(name, tpu="local")


@pytest.mark.parametrize("name", ["auto", "multi_worker"])
def test_wrong_tf_config(monkeypatch, name):
    monkeypatch.setenv("TF_CONFIG", "{nonsense")
    with pytest.raises(InputError, match="TF_CONFIG is wrong"):
        make_strategy(name)


def test_one_worker_is_no_cluster(monkeypatch):
    task = {"type": "worker", "index": 0}
    cluster = {"cluster": {"worker": ["localhost:2222"]}, "task": task}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    assert make_strategy("auto") is tf.distribute.get_strategy()


def test_worker_whose_port_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        workers = [f"127.0.0.1:{taken.getsockname()[1]}", "127.0.0.1:1"]
        cluster = {
            "cluster": {"worker": workers},
            "task": {"type": "worker", "index": 0},
        }
        monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
        with pytest.raises(InputError, match=f"port of worker 0 .{workers[0]}. is in"):
            make_strategy("auto")


@pytest.mark.parametrize("name", ["tpu", "auto"])
def test_no_tpu_in_this_machine(name):
    with pytest.raises(InputError, match="no TPU at 'local': .* tensorflow-tpu") as it:
        make_strategy(name, tpu="local")
    assert "\n" not in str(it.value)


def test_name_that_only_google_cloud_knows(monkeypatch):
    monkeypatch.setenv("GCE_METADATA_IP", "no-such-host.invalid")
    with pytest.raises(InputError, match="no TPU named 'my-tpu': only machines of Goo"):
        make_strategy("tpu", tpu="my-tpu")


def test_no_tpu_at_an_address():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(InputError, match=f"no TPU at grpc://{address}: .*refused"):
        make_strategy("tpu", tpu=f"grpc://{address}")
    with pytest.raises(InputError, match="no TPU at grpc://nonsense: "):
        make_strategy("tpu", tpu="grpc://nonsense")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", None])
def test_another_server_at_the_tpus_address(answer, monkeypatch):
    """One that says something else, that says nothing and leaves, that is silent."""
    monkeypatch.setattr("dermgan_tf.training.strategies._ANSWER_SECONDS", 0.5)
    with answering(answer) as address:
        with pytest.raises(
            InputError, match=f"no TPU at grpc://{address}: (what answers|timed)"
        ):
            make_strategy("tpu", tpu=f"grpc://{address}")


def test_grpc_without_a_tpu_is_let_through_to_tensorflow(monkeypatch):
    """What a gRPC server answers is taken for one."""
    server = tf.distribute.Server({"worker": ["127.0.0.1:0"]}, protocol="grpc")
    address = server.target.removeprefix("grpc://")
    asked = []

    def resolver(tpu):
        asked.append(tpu)
        raise RuntimeError("no TPU in it")

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", resolver)
    with pytest.raises(InputError, match="no TPU in it"):
        make_strategy("tpu", tpu=f"grpc://{address}")
    assert asked == [f"grpc://{address}"]


@contextlib.contextmanager
def answering(answer):
    """A server that gives every guest one answer; with None it only listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            guest, _ = server.accept()
            guest.recv(100)
            guest.sendall(answer)
            guest.close()

        if answer is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
