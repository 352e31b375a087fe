"""TF_CONFIG, and the processes that meet before TensorFlow connects them."""

import concurrent.futures
import json
import socket
import threading
import time

import pytest

from dermgan_tf.errors import InputError
from dermgan_tf.training import workers as workers_module
from dermgan_tf.training.workers import Cluster, host_and_port, meet, read_cluster

WORKERS = ["10.0.0.1:2222", "10.0.0.2:2222"]


def configure(monkeypatch, config):
    text = config if isinstance(config, str) else json.dumps(config)
    monkeypatch.setenv("TF_CONFIG", text)


def free_ports(count):
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def workers(ports, own):
    tasks = tuple(("worker", i) for i in range(len(ports)))
    return Cluster(tasks, tuple(f"127.0.0.1:{port}" for port in ports), own)


def test_reads_tf_config(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert read_cluster() is None
    configure(monkeypatch, {"environment": "cloud", "task": {"index": 0}})
    assert read_cluster() is None
    configure(
        monkeypatch,
        {"cluster": {"worker": WORKERS}, "task": {"type": "worker", "index": "1"}},
    )
    cluster = read_cluster()
    assert cluster == Cluster((("worker", 0), ("worker", 1)), tuple(WORKERS), 1)
    assert cluster.name(1) == "worker 1 (10.0.0.2:2222)"
    jobs = {"worker": WORKERS, "chief": ["boss:80"]}
    configure(monkeypatch, {"cluster": jobs, "task": {"type": "worker", "index": 0}})
    cluster = read_cluster()
    assert cluster.tasks == (("chief", 0), ("worker", 0), ("worker", 1))
    assert cluster.addresses == ("boss:80", *WORKERS)
    assert cluster.own == 1


def config(job="worker", index=0, **jobs):
    return {
        "cluster": jobs or {"worker": WORKERS},
        "task": {"type": job, "index": index},
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("{nonsense", "it is no JSON"),
        ("[1]", "it is a list"),
        ({"cluster": ["a:1"]}, "jobs chief and worker only, is"),
        ({"cluster": {"worker": WORKERS}}, "does not say which task"),
        ({"cluster": {"worker": WORKERS}, "task": {}}, "index of its task is None"),
        (config(index=2), r"its task is worker 2, its cluster has 2 worker\(s\)"),
        (config(index=-1), "its task is worker -1"),
        (config(index="first"), "index of its task is 'first'"),
        (config(index=None), "index of its task is None"),
        (config("chief"), "its task is chief 0"),
        (config("evaluator"), "its task is evaluator 0"),
        (config(worker=["a:1"], ps=["b:1"]), "jobs chief and worker only.*'ps'"),
        (config(worker="a:1"), "its worker must be a list of addresses, is 'a:1'"),
        (config(worker=["a"]), "address 'a' is not host:port"),
        (config(worker=["a:0"]), "address 'a:0' is not"),
        (config(worker=["a:66000"]), "address 'a:66000' is not"),
        (config(worker=[":80"]), "address ':80' is not"),
        (config(worker=[80]), "address 80 is not"),
        (config(worker=["a:1", "a:1"]), "lists an address twice"),
    ],
)
def test_wrong_tf_config(monkeypatch, wrong, message):
    configure(monkeypatch, wrong)
    with pytest.raises(InputError, match=f"^TF_CONFIG is wrong: .*{message}") as caught:
        read_cluster()
    assert "looks like {" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_host_and_port():
    assert host_and_port("host.example:80") == ("host.example", 80)
    assert host_and_port("[::1]:2222") == ("::1", 2222)


@pytest.mark.parametrize("late", [0, 2])
def test_none_goes_on_before_all_have_come(late, caplog, monkeypatch):
    monkeypatch.setattr(workers_module, "_QUIET_SECONDS", 0.2)
    ports = free_ports(3)
    began = threading.Event()

    def come(own):
        if own == late:
            time.sleep(1)
            began.set()
        meet(workers(ports, own), wait_seconds=30)
        assert began.is_set()
        # TensorFlow's server takes over at once.
        socket.create_server(("", ports[own])).close()

    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(come, range(3)))
    assert f"waiting for worker {late} (127.0.0.1:{ports[late]})" in caplog.text


def test_one_who_went_away_is_waited_for_again():
    ports = free_ports(3)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(meet, workers(ports, 0), 30)
        with pytest.raises(InputError, match=r"waited 1 s for worker 2 "):
            meet(workers(ports, 1), wait_seconds=1)
        rest = [pool.submit(meet, workers(ports, i), 30) for i in (2, 1)]
        for done in (first, *rest):
            done.result()


def test_missing_ones_are_named():
    ports = free_ports(3)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(meet, workers(ports, 0), 2)
        second = pool.submit(meet, workers(ports, 1), 2)
        for waiting in (first, second):
            with pytest.raises(
                InputError, match=rf"waited 2 s for worker 2 \(127.0.0.1:{ports[2]}\)"
            ):
                waiting.result()
    with pytest.raises(InputError, match="for worker 0 .*: start all workers with the"):
        meet(workers(ports, 1), wait_seconds=0.5)


def test_unresolvable_address_is_waited_for():
    cluster = Cluster(
        (("worker", 0), ("worker", 1)),
        ("no-such-host.invalid:2222", f"127.0.0.1:{free_ports(1)[0]}"),
        1,
    )
    with pytest.raises(InputError, match=r"worker 0 \(no-such-host.invalid:2222\)"):
        meet(cluster, wait_seconds=0.5)


def test_own_port_is_taken():
    ports = free_ports(2)
    with socket.create_server(("127.0.0.1", ports[1])):
        with pytest.raises(InputError, match=r"port of worker 1 .* is in use"):
            meet(workers(ports, 1), wait_seconds=30)


def test_strangers_are_sent_away(monkeypatch):
    monkeypatch.setattr(workers_module, "_ANSWER_SECONDS", 0.2)
    *ports, other = free_ports(3)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(meet, workers(ports, 0), 30)
        for greeting in (b"GET / HTTP/1.1\r\n", b"[]\n", b'{"place": null}\n', b""):
            with connected(ports[0]) as stranger:
                stranger.sendall(greeting)
                assert b"problem" in stranger.recv(100)
        with pytest.raises(InputError, match="give all workers the same cluster"):
            meet(workers([ports[0], other], 1), wait_seconds=30)
        meet(workers(ports, 1), wait_seconds=30)
        first.result()


def test_two_with_the_same_task():
    ports = free_ports(3)
    hello = {"place": 1, "addresses": [f"127.0.0.1:{port}" for port in ports]}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(meet, workers(ports, 0), 30)
        with connected(ports[0]) as elsewhere:  # a worker 1 on another machine
            elsewhere.sendall(json.dumps(hello).encode() + b"\n")
            assert b"worker 2" in elsewhere.recv(1000)
            with pytest.raises(InputError, match="another process is worker 1 .*alre"):
                meet(workers(ports, 1), wait_seconds=30)
        rest = [pool.submit(meet, workers(ports, i), 30) for i in (1, 2)]
        for done in (first, *rest):
            done.result()


def test_one_that_is_no_worker_is_not_taken_for_the_first():
    ports = free_ports(2)
    with socket.create_server(("127.0.0.1", ports[0])) as stranger:

        def serve():
            while True:
                try:
                    guest, _ = stranger.accept()
                except OSError:
                    return
                with guest:
                    guest.sendall(b"\x00\x00\x00\x04\x00hello\n")

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(InputError, match="waited 1 s for worker 0"):
            meet(workers(ports, 1), wait_seconds=1)
        stranger.shutdown(socket.SHUT_RDWR)


def connected(port):
    until = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except ConnectionRefusedError:
            assert time.monotonic() < until
            time.sleep(0.01)
