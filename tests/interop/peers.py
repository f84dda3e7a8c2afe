# SPDX-License-Identifier: Apache-2.0
"""What weir is put between: SDK programs, the Collector. And how two recordings of OTLP are compared."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from weirtest import ROOT, SIGNALS, Process, fields, wait_for  # noqa: E402

AT = ROOT / "build" / "interop"
SDKS = {
    "js": (["node", AT / "sdk.mjs"], ["grpc-none", "grpc-gzip", "http-none", "http-gzip", "json-none", "json-gzip"]),
    "python": ([ROOT / "build" / "venv" / "bin" / "python", ROOT / "tests" / "interop" / "sdk.py"],
               ["grpc-none", "grpc-gzip", "http-none", "http-gzip", "http-deflate"]),
    "go": ([AT / "sdk-go"], ["grpc-none", "grpc-gzip", "grpc-zstd", "http-none", "http-gzip"]),
    "rust": ([AT / "sdk-rust"], ["grpc-none", "grpc-gzip", "grpc-zstd", "http-none", "http-gzip", "http-zstd"]),
}
COLLECTOR_SIGNALS = (*SIGNALS, "profiles")
POINTS = {5, 7, 9, 10, 11}  # Metric's oneof: gauge, sum, histogram, exponential histogram, summary


def have(what):
    """run.sh leaves a mark for each peer that it could fetch or build."""
    return (AT / f"{what}.ready").exists()


def sdk(name, ways, *targets):
    """Runs an SDK's program; targets: objects with address(transport). Returns what it made: items of each signal."""
    order = {"ways": ways, "targets": [{t: target.address(t) for t in ("grpc", "http")} for target in targets]}
    words = [json.dumps(order)] if name != "rust" else [",".join(ways), *(f"{t['grpc']} {t['http']}" for t in order["targets"])]
    done = subprocess.run(
        [*SDKS[name][0], *words], cwd=AT, capture_output=True, text=True, timeout=240, env={**os.environ, "NO_PROXY": "*", "no_proxy": "*"},
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    return dict(zip(SIGNALS, (made["spans"], made["dataPoints"], made["logRecords"])))


def items(signal, body):
    """Every item of a request with all that it hangs on: (resource and its schema, scope and its schema, item), as bytes. A request of
    profiles is one item: all of it hangs on its dictionary, so that nobody may join or split it."""
    if signal == "profiles":
        yield body
        return
    for number, resource_part in fields(body):
        assert number == 1
        resource = tuple((n, v) for n, v in fields(resource_part) if n != 2)
        for _, scope_part in (f for f in fields(resource_part) if f[0] == 2):
            scope = tuple((n, v) for n, v in fields(scope_part) if n != 2)
            for _, item in (f for f in fields(scope_part) if f[0] == 2):
                if signal != "metrics":
                    yield resource, scope, item
                    continue
                head = tuple((n, v) for n, v in fields(item) if n not in POINTS)
                for kind, data in (f for f in fields(item) if f[0] in POINTS):
                    rest = tuple((n, v) for n, v in fields(data) if n != 1)
                    for _, point in (f for f in fields(data) if f[0] == 1):
                        yield resource, scope, head, kind, rest, point


def count_items(signal, bodies):
    return Counter(item for body in bodies for item in items(signal, body))


def assert_same(got, expected, what):
    more, less = got - expected, expected - got
    assert not more and not less, (
        f"{what}: of {expected.total()} items, {more.total()} came that were not sent, {less.total()} did not come\n"
        f"came:     {next(iter(more), None)}\nexpected: {next(iter(less), None)}"
    )


class Inlet:
    """A receiver of a Collector: OTLP/gRPC and OTLP/HTTP, and what arrived there when the Collector has a file for it."""

    def __init__(self, box, name):
        self.name, self.directory = name, box.directory
        self.grpc, self.http = box.port().address, box.port().address  # stay bound: the Collector listens on them

    def address(self, transport):
        return self.grpc if transport == "grpc" else self.http

    def url(self, transport):
        return f"{transport}://{self.address(transport)}"

    def file(self, signal):
        return self.directory / f"{self.name}-{signal}.otlp"

    def received(self, signal):
        """[request] as the Collector wrote them, after its end."""
        content, at, out = self.file(signal).read_bytes(), 0, []
        while at < len(content):
            length = int.from_bytes(content[at : at + 4], "big")
            out.append(content[at + 4 : at + 4 + length])
            assert len(out[-1]) == length, f"{self.file(signal)} is cut off"
            at += 4 + length
        return out

    def items(self, signal):
        return count_items(signal, self.received(signal))


class Collector:
    """A real Collector. Each inlet is a receiver of its own with pipelines to its files, or to exporters."""

    def __init__(self, box, name="collector"):
        self.box, self.name, self.process = box, name, None
        self.config = {
            "receivers": {}, "exporters": {"debug": {}}, "service": {"pipelines": {}, "telemetry": {"metrics": {"level": "none"}}},
        }

    def inlet(self, name, exporters=None, http_encodings=None):
        """exporters: {name: settings}, to send on; without, what arrives is written to files. http_encodings: takes no others."""
        inlet = Inlet(self.box, name)
        http = {"endpoint": inlet.http} | ({"compression_algorithms": http_encodings} if http_encodings else {})
        self.config["receivers"][f"otlp/{name}"] = {"protocols": {"grpc": {"endpoint": inlet.grpc}, "http": http}}
        self.config["exporters"].update(exporters or {})
        for signal in COLLECTOR_SIGNALS:
            to = list(exporters or {})
            if not exporters:
                to = [f"file/{name}-{signal}", "debug"]
                self.config["exporters"][to[0]] = {"path": str(inlet.file(signal)), "format": "proto"}
            self.config["service"]["pipelines"][f"{signal}/{name}"] = {"receivers": [f"otlp/{name}"], "exporters": to}
        return inlet

    def start(self):
        config = self.box.file(f"{self.name}.yaml", json.dumps(self.config).encode())
        self.process = Process(self.name, self.box.directory, [AT / "collector" / "otelcol", "--feature-gates=service.profilesSupport", "--config", config])
        self.box.closers.append(self.process.kill)
        wait_for(lambda: "Everything is ready" in self.process.log() or not self.process.alive(), 60, "the Collector is ready")
        assert self.process.alive(), self.process.log()
        return self

    def stop(self):
        """Ends it, so that its files are whole."""
        self.process.signal(15)
        assert self.process.wait(30) == 0, self.process.log()
