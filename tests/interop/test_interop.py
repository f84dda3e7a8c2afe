# SPDX-License-Identifier: Apache-2.0
"""Unmodified OpenTelemetry SDKs export through weir: each item arrives bytewise as the same exporter sends it directly."""

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from conftest import box, pytest_runtest_makereport  # noqa: E402,F401  the same fixture as the e2e tests
from peers import SDKS, assert_same, count_items, have, sdk  # noqa: E402
from weirtest import SIGNALS, read_record  # noqa: E402


def recorded(path, signal):
    return count_items(signal, [body for kind, body in read_record(path) if kind == signal])


@pytest.mark.parametrize("upstream", ["grpc", "http"])
@pytest.mark.parametrize("name", SDKS)
def test_sdk(box, name, upstream):  # noqa: F811
    if not have(name):
        pytest.skip(f"the {name} SDK is not there: `make interop` fetches it")
    through, direct = box.directory / "through", box.directory / "direct"
    sink, reference = box.sink(record=through), box.sink(record=direct)
    weir = box.weir(sink.url(upstream))
    ways = [way for way in SDKS[name][1] if not way.startswith("json")]  # JSON is not the same bytes: test_chain compares it
    sent = sdk(name, ways, weir, reference)
    weir.wait_drained()
    for signal in SIGNALS:
        expected = recorded(direct, signal)
        assert expected.total() == sent[signal] > 0
        assert_same(recorded(through, signal), expected, f"{name}, {signal}")
        lane = weir.lane(signal)
        assert lane["accepted"] == lane["delivered"] == sent[signal]
        seen = reference.stats(signal)["encodings"]
        used = Counter(way.split("-")[1].replace("none", "identity") for way in ways)
        assert all(used[encoding] == n for encoding, n in seen.items()), f"the exporters do not do what they were told: {seen}"
