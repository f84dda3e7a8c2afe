# SPDX-License-Identifier: Apache-2.0
"""The OTLP specification's own JSON examples, sent to weir: what goes on as protobuf is what others make of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from conftest import box, pytest_runtest_makereport  # noqa: E402,F401  the same fixture as the e2e tests
from peers import Collector, assert_same, have  # noqa: E402
from weirtest import HTTP_PATHS, ROOT, SIGNALS, read_record, request  # noqa: E402

EXAMPLES = ROOT / "tests" / "data" / "otlp-examples"
DOCUMENTS = {"trace": "traces", "metrics": "metrics", "logs": "logs", "events": "logs"}


def post(address, name):
    body = (EXAMPLES / f"{name}.json").read_bytes()
    status, headers, answer = request(address, "POST", HTTP_PATHS[DOCUMENTS[name]], body, {"Content-Type": "application/json"})
    assert (status, headers["content-type"]) == (200, "application/json"), answer
    assert not json.loads(answer).get("partialSuccess"), answer


@pytest.mark.skipif(not have("python"), reason="opentelemetry-proto is not there: run by `make interop`")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_as_protobuf_reads_them(box, name):  # noqa: F811
    record = box.directory / "record"
    weir = box.weir(box.sink(record=record).url("grpc"))
    post(weir.http, name)
    weir.wait_drained()
    [(signal, body)] = read_record(record)
    assert signal == DOCUMENTS[name]
    done = subprocess.run(
        [ROOT / "build" / "venv" / "bin" / "python", ROOT / "tests" / "interop" / "json_oracle.py", signal, EXAMPLES / f"{name}.json",
         box.file("request", body)], capture_output=True, text=True, timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not have("collector"), reason="the Collector is not built: run by `make interop`, with Go 1.26")
def test_as_the_collector_reads_them(box):  # noqa: F811
    collector = Collector(box)
    through, direct = collector.inlet("through"), collector.inlet("direct")
    collector.start()
    weir = box.weir(through.url("grpc"))
    for name in DOCUMENTS:
        post(weir.http, name)
        post(direct.http, name)
    weir.wait_drained()
    collector.stop()
    for signal in SIGNALS:
        expected = direct.items(signal)
        assert expected.total() == {"traces": 1, "metrics": 4, "logs": 2}[signal]
        assert_same(through.items(signal), expected, signal)
