# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus as upstream for metrics, by its OTLP receiver: an outage, and what it refuses."""

import json
import struct
import sys
import time
import urllib.parse
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from conftest import box, pytest_runtest_makereport  # noqa: E402,F401  the same fixture as the e2e tests
from peers import AT, have  # noqa: E402
from weirtest import Process, field, request, wait_for  # noqa: E402

pytestmark = pytest.mark.skipif(not have("prometheus"), reason="Prometheus is not built: run by `make interop`, with Go 1.26")


class Prometheus:
    """Stays at one address and keeps its data when it is started again."""

    def __init__(self, box):  # noqa: F811
        self.box, self.address, self.process, self.starts = box, box.port().address, None, 0
        self.config = box.file("prometheus.yaml", b"global: {scrape_interval: 1h}\n")

    def start(self):
        self.starts += 1
        self.process = Process(f"prometheus{self.starts}", self.box.directory, [
            AT / "prometheus", f"--config.file={self.config}", f"--storage.tsdb.path={self.box.directory / 'tsdb'}",
            f"--web.listen-address={self.address}", "--web.enable-otlp-receiver",
        ])
        self.box.closers.append(self.process.kill)
        wait_for(lambda: self.ready() or not self.process.alive(), 60, "Prometheus is ready")
        assert self.process.alive(), self.process.log()
        return self

    def ready(self):
        try:
            return request(self.address, "GET", "/-/ready")[0] == 200
        except OSError:
            return False

    def stop(self):
        self.process.signal(15)
        assert self.process.wait(30) == 0, self.process.log()

    def url(self):
        return f"http://{self.address}/api/v1/otlp"

    def samples(self, query):
        """{labels but the name: [(unix seconds, value)]} in order of time."""
        status, _, body = request(self.address, "GET", "/api/v1/query?" + urllib.parse.urlencode({"query": query}))
        assert status == 200, body
        result = json.loads(body)["data"]["result"]
        return {
            tuple(sorted((k, v) for k, v in series["metric"].items() if k != "__name__")): [(t, float(v)) for t, v in series["values"]]
            for series in result
        }


def fixed64(number, fmt, value):
    return bytes([number << 3 | 1]) + struct.pack(fmt, value)


def attribute(key, value):
    return field(1, key.encode()) + field(2, field(1, value.encode()))


def gauge(name, points):
    """An export of one gauge; points: [(labels, unix seconds, value)]."""
    data = b"".join(
        field(1, fixed64(3, "<Q", at * 10**9) + fixed64(4, "<d", value) + b"".join(field(7, attribute(k, v)) for k, v in labels.items()))
        for labels, at, value in points
    )
    scope = field(1, field(1, b"interop")) + field(2, field(1, name.encode()) + field(5, data))
    resource = field(1, field(1, attribute("service.name", "interop")))
    return field(1, resource + field(2, scope))


def send(weir, *exports):
    for body in exports:
        status, _, answer = request(weir.http, "POST", "/v1/metrics", body, {"Content-Type": "application/x-protobuf"})
        assert status == 200, answer


def relay(box, prometheus):  # noqa: F811
    return box.weir({"name": "prometheus", "endpoint": prometheus.url(), "protocol": "http/protobuf", "signals": ["metrics"]})


def labels(**more):
    return tuple(sorted({"job": "interop", **more}.items()))


def test_outage(box):  # noqa: F811
    """What came before, during and after an outage is all there, each sample with its time and value."""
    prometheus = Prometheus(box).start()
    weir = relay(box, prometheus)
    start = int(time.time()) - 400
    exports = [
        gauge("interop_level", [({"pool": p}, start + i, i * 1.5 + n) for n, p in enumerate(("a", "ß"))]) for i in range(90)
    ]
    send(weir, *exports[:30])
    weir.wait_drained()
    prometheus.stop()
    send(weir, *exports[30:60])
    wait_for(weir.last_error, 30, "weir found the outage")
    assert weir.lane("metrics")["pending"] == 60
    prometheus.start()
    send(weir, *exports[60:])
    weir.wait_drained()
    assert weir.lane("metrics")["delivered"] == 180
    found = prometheus.samples("interop_level[1h]")
    assert found == {
        labels(pool=p): [(start + i, i * 1.5 + n) for i in range(90)] for n, p in enumerate(("a", "ß"))
    }


@pytest.mark.parametrize("joined", [False, True])
def test_out_of_order(box, joined):  # noqa: F811
    """Prometheus answers 400 to samples older than it has: those requests become dead letters, all others arrive, also those that were
    sent in one export with them."""
    prometheus = Prometheus(box).start()
    weir = relay(box, prometheus)
    start = int(time.time()) - 400
    good = [gauge("interop_order", [({}, start + i, i)]) for i in range(20)]
    late = [gauge("interop_order", [({}, start + i, 1000 + i)]) for i in (2, 5)]
    send(weir, *good[:10])
    weir.wait_drained()
    if joined:
        prometheus.stop()
    send(weir, late[0], *good[10:15], late[1], *good[15:])
    if joined:
        wait_for(weir.last_error, 30, "weir found the outage")
        prometheus.start()
    weir.wait_drained()
    lane = weir.check_ledger()["prometheus"]["metrics"]
    assert (lane["accepted"], lane["delivered"], lane["dead_lettered"]) == (22, 20, 2), lane
    letters = [e for e in weir.events() if e["event"] == "dead_letter"]
    assert letters and all("400" in json.dumps(e) and "out of order" in json.dumps(e) for e in letters), letters
    found = prometheus.samples("interop_order[1h]")
    assert found == {labels(): [(start + i, i) for i in range(20)]}


def test_out_of_order_within_an_export(box):  # noqa: F811
    """What is late behind samples of the same export Prometheus leaves out and says 200: delivered, for all that weir can know."""
    prometheus = Prometheus(box).start()
    weir = relay(box, prometheus)
    start = int(time.time()) - 400
    prometheus.stop()
    send(weir, *(gauge("interop_order", [({}, start + i, value)]) for i, value in ((0, 0), (1, 1), (2, 2), (1, 1001), (3, 3))))
    wait_for(weir.last_error, 30, "weir found the outage")
    prometheus.start()
    weir.wait_drained()
    lane = weir.check_ledger()["prometheus"]["metrics"]
    assert (lane["accepted"], lane["delivered"]) == (5, 5), lane
    assert prometheus.samples("interop_order[1h]") == {labels(): [(start + i, i) for i in range(4)]}
