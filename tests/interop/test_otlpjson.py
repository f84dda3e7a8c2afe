# SPDX-License-Identifier: Apache-2.0
"""The Collector's own unmarshalers, which its otlpjsonfile receiver gives each line to, read what weir writes as OTLP/JSON."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from conftest import box, pytest_runtest_makereport  # noqa: E402,F401  the same fixture as the e2e tests
from weirtest import BUILD, ROOT, SIGNALS  # noqa: E402

OTLPJSON = ROOT / "build" / "interop" / "otlpjson"
pytestmark = pytest.mark.skipif(not OTLPJSON.with_suffix(".ready").exists(), reason="the Collector's unmarshalers are not built: run by `make interop`, with Go 1.26")


def otlpjson(*args):
    done = subprocess.run([OTLPJSON, *args], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_export_holds_every_item(box):  # noqa: F811
    port = box.port()  # nobody listens: all of it stays
    weir = box.weir(f"grpc://{port.address}")
    sent = {"traces": 3000, "metrics": 2000, "logs": 1000}
    for signal, items in sent.items():
        box.gen(weir, signal=signal, items=items, items_per_request=50, payload_bytes=100)
    assert weir.terminate() == 0
    lines = box.directory / "export.jsonl"
    done = subprocess.run([BUILD / "weir", "spool", "export", weir.spool, "-o", lines], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    read = json.loads(otlpjson("ids", lines))
    assert read["lines"] == sum(sent.values()) // 50
    for signal in SIGNALS:
        assert sorted(read["ids"][signal]) == list(range(sent[signal])), signal


def test_random_requests_say_the_same_in_json(box):  # noqa: F811
    """Read by the Collector from protobuf and from our JSON, and written by it in protobuf again: the same bytes. All four signals."""
    dump = BUILD / "tests" / "unit" / "dump_otlp_json"
    records, lines = box.directory / "records", box.directory / "lines"
    wire = subprocess.run([dump, "200", "5"], stdout=subprocess.PIPE, check=True).stdout
    answers = subprocess.run([dump], input=wire, stdout=subprocess.PIPE, check=True).stdout
    records.write_bytes(wire)
    with lines.open("wb") as out:
        at = 0
        while at < len(answers):
            code, size = struct.unpack_from("<BI", answers, at)
            assert code == 0
            out.write(answers[at + 5 : at + 5 + size] + b"\n")
            at += 5 + size
    assert otlpjson("same", records, lines) == "800 the same\n"
