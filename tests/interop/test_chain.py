# SPDX-License-Identifier: Apache-2.0
"""SDK → weir → Collector, and Collector → weir → Collector: what the last one writes is what it writes of the same data sent directly."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from conftest import box, pytest_runtest_makereport  # noqa: E402,F401  the same fixture as the e2e tests
from peers import COLLECTOR_SIGNALS, SDKS, Collector, assert_same, have, sdk  # noqa: E402
from weirtest import BUILD, HTTP_PATHS, SIGNALS, request  # noqa: E402

pytestmark = pytest.mark.skipif(not have("collector"), reason="the Collector is not built: run by `make interop`, with Go 1.26")
PATHS = {**HTTP_PATHS, "profiles": "/v1development/profiles"}
COMPRESSIONS = ("zstd", "gzip", "none")


def through_every_upstream(box, collector):  # noqa: F811
    """A relay that sends all it gets by gRPC and HTTP, with each compression, to inlets of their own; HTTP ones take that alone."""
    inlets, upstreams = {}, []
    for transport in ("grpc", "http"):
        for compression in COMPRESSIONS:
            name = f"{transport}-{compression}"
            inlets[name] = collector.inlet(name, http_encodings=["" if compression == "none" else compression])
            upstreams.append({"name": name, "endpoint": inlets[name].url(transport), "compression": compression})
    return inlets, upstreams


@pytest.mark.parametrize("name", SDKS)
def test_sdk_weir_collector(box, name):  # noqa: F811
    if not have(name):
        pytest.skip(f"the {name} SDK is not there: `make interop` fetches it")
    collector = Collector(box)
    direct = collector.inlet("direct")
    inlets, upstreams = through_every_upstream(box, collector)
    collector.start()
    weir = box.weir(*upstreams)
    sent = sdk(name, SDKS[name][1], weir, direct)
    weir.wait_drained()
    weir.check_ledger()
    collector.stop()
    for signal in SIGNALS:
        expected = direct.items(signal)
        assert expected.total() == sent[signal] > 0
        for inlet in inlets.values():
            assert_same(inlet.items(signal), expected, f"{name}, {inlet.name}, {signal}")


# exporter, settings: {weir's gRPC or HTTP address} is put in
WAYS = {
    **{f"otlp/{c}": {"compression": c} for c in ("none", "gzip", "zstd", "snappy")},
    **{f"otlphttp/{c}": {"compression": c} for c in ("none", "gzip", "zstd", "zlib", "deflate", "snappy", "x-snappy-framed", "lz4")},
    **{f"otlphttp/json-{c}": {"compression": c, "encoding": "json"} for c in ("none", "gzip", "zstd")},
}


def random_requests(count, seed):
    """[(signal, bytes)]: random requests with every field of OTLP in them somewhere."""
    wire = subprocess.run([BUILD / "tests" / "unit" / "dump_otlp_json", str(count), str(seed)], stdout=subprocess.PIPE, check=True).stdout
    at, out = 0, []
    while at < len(wire):
        length = int.from_bytes(wire[at + 1 : at + 5], "little")
        out.append((("traces", "metrics", "logs", "profiles")[wire[at]], wire[at + 5 : at + 5 + length]))
        at += 5 + length
    return out


def lane_items(weir):
    return {signal: weir.lane(signal, "grpc-zstd")["accepted"] for signal in COLLECTOR_SIGNALS}


def test_collector_weir_collector(box):  # noqa: F811
    """Every compression of both exporters, and JSON; random requests with every field."""
    collector, first = Collector(box), Collector(box, "first")
    direct = collector.inlet("direct")
    inlets, upstreams = through_every_upstream(box, collector)
    collector.start()
    weir = box.weir(*upstreams)
    ways = {}
    for way, settings in WAYS.items():
        grpc = way.startswith("otlp/")
        to = {"endpoint": weir.address("grpc") if grpc else "http://" + weir.address("http"), "tls": {"insecure": True}, "sending_queue": {"enabled": False}}
        ways[way] = first.inlet(way.replace("/", "-"), exporters={way: {**to, **settings}})
    first.start()
    requests = random_requests(30, 7)

    def post(inlet, signal, body):
        status, _, answer = request(inlet.http, "POST", PATHS[signal], body, {"Content-Type": "application/x-protobuf"})
        assert status == 200, (inlet.name, signal, status, answer)

    for signal, body in requests:
        post(direct, signal, body)
    taken, before = {}, lane_items(weir)
    for way, inlet in ways.items():
        for signal, body in requests:
            post(inlet, signal, body)
        now = lane_items(weir)
        taken[way], before = {s: now[s] - before[s] for s in COLLECTOR_SIGNALS}, now
    assert all(items == taken["otlp/none"] for items in taken.values()), json.dumps(taken, indent=1)
    weir.wait_drained()
    first.stop()
    collector.stop()
    for signal in COLLECTOR_SIGNALS:
        expected = Counter({item: n * len(WAYS) for item, n in direct.items(signal).items()})
        assert expected.total() > 0
        for inlet in inlets.values():
            assert_same(inlet.items(signal), expected, f"{inlet.name}, {signal}")
