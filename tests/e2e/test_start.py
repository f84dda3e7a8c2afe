# SPDX-License-Identifier: Apache-2.0
"""Wrong configurations and surroundings: an error that names the thing and the cure, and the right exit code."""

import os
import socket
import subprocess

import pytest

from weirtest import BUILD, Weir, sanitizer_options, wait_for


def weir(*args, timeout=60, **kwargs):
    env = {**os.environ, **sanitizer_options(), **kwargs.pop("env", {})}
    return subprocess.run([str(BUILD / "weir"), *map(str, args)], capture_output=True, text=True, timeout=timeout, env=env, **kwargs)


def run(box, *args):
    """`weir run` that is expected to end by itself."""
    quiet = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    return weir("run", "--upstream", "grpc://127.0.0.1:1", "--spool", box.directory / "spool", *quiet, *args)


@pytest.mark.parametrize("yaml,line,words", [
    ("receiver:\n  grpc:\n    endpont: 127.0.0.1:0\n", 3, ["endpont", "endpoint"]),
    ("spool:\n  max_size: 10 parsecs\n", 2, ["max_size", "10 parsecs"]),
    ("spool:\n  directory: /tmp/a\n  directory: /tmp/b\n", 3, ["directory"]),
    ("upstreams:\n  - name: a\n    endpoint: ftp://x\n", 3, ["ftp"]),
    ("upstreams:\n  - name: a\n    endpoint: grpc://x:1\n    timeout: yesterday\n", 4, ["timeout", "yesterday"]),
    ("spool: [\n", 2, []),
    ("log:\n\tlevel: info\n", 2, []),
])
def test_bad_yaml(box, yaml, line, words):
    path = box.file("weir.yaml", yaml.encode())
    for command, code in (("check-config", 1), ("run", 2)):
        done = weir(command, "--config", path)
        assert done.returncode == code, (command, done)
        text = done.stderr + done.stdout
        assert f"weir.yaml:{line}:" in text, text
        assert all(word in text for word in words), text


def test_a_missing_configuration_file(box):
    done = weir("run", "--config", box.directory / "none.yaml")
    assert done.returncode == 2 and "none.yaml" in done.stderr


def test_a_spool_whose_parent_is_missing(box):
    done = run(box, "--spool", box.directory / "no" / "such" / "place")
    assert done.returncode in (1, 2) and str(box.directory / "no" / "such") in done.stderr, done


def test_a_spool_that_is_a_file(box):
    path = box.file("spool-file", b"")
    done = run(box, "--spool", path)
    assert done.returncode in (1, 2) and str(path) in done.stderr and path.read_bytes() == b"", done


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.exists("/proc/self/mounts"), reason="needs a file system nobody may write")
def test_an_unwritable_directory(box):
    # Root may write everywhere but where the kernel itself refuses.
    target = "/proc/weir-spool" if os.geteuid() == 0 else str(box.directory / "locked" / "spool")
    if os.geteuid() != 0:
        (box.directory / "locked").mkdir(mode=0o500)
    done = run(box, "--spool", target)
    assert done.returncode in (1, 2) and target in done.stderr, done


def test_a_directory_with_other_things_in_it(box):
    other = box.directory / "photos"
    other.mkdir()
    (other / "cat.jpg").write_bytes(b"cat")
    done = run(box, "--spool", other)
    assert done.returncode in (1, 2) and str(other) in done.stderr, done
    assert [p.name for p in other.iterdir()] == ["cat.jpg"], "touched nothing"


def test_a_directory_held_by_another_weir(box):
    holder = box.weir("grpc://127.0.0.1:1")
    done = run(box, "--spool", holder.spool)
    assert done.returncode == 4, done
    assert str(holder.spool) in done.stderr and str(holder.pid) in done.stderr, done.stderr
    box.gen(holder, items=10)  # the holder noticed nothing


@pytest.mark.parametrize("option", ["--grpc", "--http", "--admin"])
def test_a_port_in_use(box, option):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        done = run(box, option, address)
        assert done.returncode == 1, done
        assert address in done.stderr and "in use" in done.stderr.lower(), done.stderr


@pytest.mark.parametrize("endpoint,code", [("grpc://no-such-host.invalid:4317", "resolve"), ("grpc://127.0.0.1:1", "connect"),
                                           ("http://127.0.0.1:1", "connect")])
def test_an_upstream_that_cannot_be_reached(box, endpoint, code):
    """weir starts, takes data, says what is wrong, and is ready: the upstream's trouble is not its own."""
    relay = box.weir(endpoint)
    box.gen(relay, items=20)
    error = wait_for(lambda: relay.last_error(), 30, "the status tells the error")
    assert error["code"] == code and error["message"], error
    assert relay.get("/readyz")[0] == 200
    assert relay.lane("traces")["pending"] == 20


def test_an_upstream_that_is_something_else(box):
    """HTTP/1.1 where gRPC was expected, and gRPC where OTLP/HTTP was: kept, told, never dropped."""
    sink = box.sink()
    relay = box.weir(f"grpc://{sink.http}", {"name": "up1", "endpoint": f"http://{sink.grpc}"})
    box.gen(relay, items=20)
    for name in ("up0", "up1"):
        wait_for(lambda: relay.last_error(name), 30, "the status tells the error")
        lane = relay.lane("traces", name)
        assert lane["pending"] == 20 and lane["dead_lettered"] == 0, (name, lane)


def test_killed_before_it_ever_listened(box):
    relay = Weir(box.directory, [{"name": "up0", "endpoint": "grpc://127.0.0.1:1"}], start=False)
    box.weirs.append(relay)
    for _ in range(10):
        relay.start(wait=False)
        wait_for(lambda: relay.spool.exists(), 20, "it has begun")
        relay.kill()
    relay.start()
    box.gen(relay, items=10)
