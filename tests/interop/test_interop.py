# SPDX-License-Identifier: Apache-2.0
"""An unmodified OpenTelemetry JS SDK exports through weir: each item arrives bytewise as the same exporter sends it directly."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from conftest import box, pytest_runtest_makereport  # noqa: E402,F401  the same fixture as the e2e tests
from weirtest import ROOT, SIGNALS, fields, read_record  # noqa: E402

SDK = ROOT / "build" / "interop"
POINTS = {5, 7, 9, 10, 11}  # Metric's oneof: gauge, sum, histogram, exponential histogram, summary


def items(signal, body):
    """Every item of a request with all that it hangs on: (resource and its schema, scope and its schema, item), as bytes."""
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


def recorded(path, signal):
    return Counter(item for kind, body in read_record(path) if kind == signal for item in items(signal, body))


@pytest.mark.skipif(not (SDK / "node_modules").exists(), reason="the SDK is not installed: run by `make interop`")
@pytest.mark.parametrize("upstream", ["grpc", "http"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_sdk(box, transport, compression, upstream):  # noqa: F811
    through, direct = box.directory / "through", box.directory / "direct"
    sink, reference = box.sink(record=through), box.sink(record=direct)
    weir = box.weir(sink.url(upstream))
    done = subprocess.run(
        ["node", SDK / "export.mjs", weir.address(transport), reference.address(transport), transport, compression],
        cwd=SDK, capture_output=True, text=True, timeout=120, env={**os.environ, "NO_PROXY": "*"},
    )
    assert done.returncode == 0, done.stderr
    sent = json.loads(done.stdout)
    weir.wait_drained()
    for signal, name in zip(SIGNALS, ("spans", "dataPoints", "logRecords")):
        got, expected = recorded(through, signal), recorded(direct, signal)
        assert sum(expected.values()) == sent[name] > 0
        assert got == expected, f"{signal}: {len(got - expected)} items came that were not sent, {len(expected - got)} did not come"
        lane = weir.lane(signal)
        assert lane["accepted"] == lane["delivered"] == sent[name]
    encoding = "gzip" if compression == "gzip" else "identity"
    for signal in SIGNALS:
        assert reference.stats(signal)["encodings"][encoding] == 1, "the exporter does what it was told"
