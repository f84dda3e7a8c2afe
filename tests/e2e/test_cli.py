# SPDX-License-Identifier: Apache-2.0
"""The command line: quick flags, the commands around the configuration, exit codes."""

import json

import yaml

from test_start import weir
from weirtest import Process, BUILD, wait_for, request


def test_usage_errors_exit_2():
    for args in (["--no-such-option"], ["frobnicate"], ["run", "surplus"], ["run", "--set", "nonsense"], ["run", "--set", "a.b=1"]):
        done = weir(*args)
        assert done.returncode == 2 and done.stderr, (args, done)


def test_version_and_help():
    done = weir("version")
    assert done.returncode == 0 and done.stdout.startswith("weir ")
    done = weir("--help")
    assert done.returncode == 0 and "check-config" in done.stdout


def test_print_config_can_be_read_back(box):
    first = weir("print-config", "--upstream", "grpc://collector:4317", "--spool", "/tmp/x", "--set", "spool.max_size=1GiB")
    assert first.returncode == 0, first
    config = yaml.safe_load(first.stdout)
    assert config["spool"]["directory"] == "/tmp/x" and config["receiver"]["grpc"]["endpoint"] == "0.0.0.0:4317"
    assert config["upstreams"][0]["endpoint"] == "grpc://collector:4317"
    path = box.file("again.yaml", first.stdout.encode())
    assert weir("check-config", "--config", path).returncode == 0
    assert weir("print-config", "--config", path).stdout == first.stdout


def test_all_errors_at_once(box):
    path = box.file("weir.yaml", b"spool:\n  max_sise: 1GiB\nlog:\n  level: loud\nupstreams:\n  - name: a\n")
    done = weir("check-config", "--config", path)
    text = done.stdout + done.stderr
    assert done.returncode == 1
    assert "weir.yaml:2:" in text and "max_size" in text and "weir.yaml:4:" in text and "loud" in text, text


def test_one_upstream_flag_is_enough(box):
    """Every other setting has a good default; ports and directory are moved so that tests may run side by side."""
    sink = box.sink()
    process = Process("quick", box.directory, [BUILD / "weir", "--upstream", sink.url("grpc"), "--spool", box.directory / "spool",
                                               "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0",
                                               "--set", "log.format=json"])
    try:
        listening = wait_for(lambda: [json.loads(line) for line in process.log().splitlines() if '"listening"' in line], 30, "it listens")
        box.gen(listening[0]["grpc"], items=50)
        wait_for(lambda: sink.stats("traces")["distinct"] == 50, 30, "all arrives")
        assert request(listening[0]["admin"], "GET", "/readyz")[0] == 200
    finally:
        process.kill()


def test_the_environment_names_an_upstream(box):
    sink = box.sink()
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{sink.http}", "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=shop"}
    process = Process("quick", box.directory, [BUILD / "weir", "run", "--spool", box.directory / "spool", "--grpc", "127.0.0.1:0", "--http",
                                               "127.0.0.1:0", "--admin", "127.0.0.1:0", "--set", "log.format=json"], env)
    try:
        listening = wait_for(lambda: [json.loads(line) for line in process.log().splitlines() if '"listening"' in line], 30, "it listens")
        box.gen(listening[0]["http"], "http", items=50)
        wait_for(lambda: sink.stats("traces")["distinct"] == 50, 30, "all arrives")
        assert all(a["headers"]["x-tenant"] == "shop" for a in sink.attempts())
    finally:
        process.kill()


def test_a_log_line_is_json_with_a_time_and_a_level(box):
    relay = box.weir("grpc://127.0.0.1:1")
    assert relay.terminate() == 0
    lines = [json.loads(line) for line in relay.process.log().splitlines()]
    assert {"spool_opened", "listening", "stopping", "stopped"} <= {line["event"] for line in lines}
    assert all(line["time"].endswith("Z") and line["level"] in ("debug", "info", "warn", "error") and line["message"] for line in lines)
