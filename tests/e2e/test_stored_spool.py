# SPDX-License-Identifier: Apache-2.0
"""The relay and its tools on the stored spools of tests/data: what an earlier version took is delivered, to the last item."""

import json
import subprocess

import pytest

from test_start import weir
from weirtest import ROOT, wait_for

STORED = sorted((ROOT / "tests" / "data").glob("spool-v*.tar.zst"))


def extract(box, archive):
    subprocess.run(["tar", "--zstd", "--sparse", "-xf", archive, "-C", box.directory], check=True)
    return box.directory / "spool", json.loads(archive.with_suffix("").with_suffix(".json").read_text())


def there(expected, lane):
    """Items of the lane's pending blocks that files still hold."""
    return sum(b["items"] for b in expected["blocks"] if b["signal"] == lane["signal"]
               and any(first <= b["number"] and (end < 0 or b["number"] < end) for first, end in lane["intervals"]))


def test_there_is_one():
    assert STORED


# A dead letter that is marked to be sent again goes out with the rest: its items, of this lane.
MARKED = {"spool-v2.tar.zst": ("central", "traces", 50)}


@pytest.mark.parametrize("archive", STORED, ids=lambda p: p.name)
def test_the_relay_delivers_it(box, archive):
    directory, expected = extract(box, archive)
    sink = box.sink()
    signals = {}
    for lane in expected["lanes"]:
        signals.setdefault(lane["upstream"], []).append(lane["signal"])
    upstreams = [{"name": name, "endpoint": sink.url("grpc"), "signals": lanes} for name, lanes in signals.items()]
    relay = box.weir(*upstreams, name="weir0", config={"spool": {"directory": str(directory), "segment_size": "1MiB"}})
    relay.wait_drained()
    marked = MARKED.get(archive.name)
    letters = expected["dead_letter_requests"] - (marked is not None)
    wait_for(lambda: relay.status()["dead_letters"]["requests"] == letters, 30, "the marked one is sent again")
    ledger = relay.check_ledger()
    for lane in expected["lanes"]:
        items, there_were = ledger[lane["upstream"]][lane["signal"]], there(expected, lane)
        again = marked[2] if marked is not None and marked[:2] == (lane["upstream"], lane["signal"]) else 0
        assert items["delivered"] == lane["delivered"] + there_were + again, lane
        assert items["evicted"] == lane["evicted"] + lane["pending"] - there_were, "what is in no file any more is entered"
        assert items["dead_lettered"] == lane["dead_lettered"] - again
    for signal in ("traces", "metrics", "logs", "profiles"):
        sent = sum(there(expected, lane) for lane in expected["lanes"] if lane["signal"] == signal)
        again = marked[2] if marked is not None and marked[1] == signal else 0
        assert sink.stats(signal)["items"] == sent + again > 0, signal


@pytest.mark.parametrize("archive", STORED, ids=lambda p: p.name)
def test_the_tools_read_it(box, archive):
    directory, expected = extract(box, archive)
    done = weir("spool", "export", str(directory), "--json")
    assert done.returncode == 0, done
    account = json.loads(done.stderr.splitlines()[-1])
    assert account["requests"] == sum(b["requests"] for b in expected["blocks"]) == len(done.stdout.splitlines())
    for signal in account["items"]:
        assert account["items"][signal] == sum(b["items"] for b in expected["blocks"] if b["signal"] == signal)
    letters = json.loads(weir("spool", "export", str(directory), "--dead-letters", "--json").stderr.splitlines()[-1])
    assert letters["requests"] == expected["dead_letter_requests"] and sum(letters["items"].values()) == expected["dead_letter_items"]
    stat = json.loads(weir("spool", "stat", str(directory), "--json").stdout)
    assert stat, "it is summed up"
    found = [json.loads(line) for line in weir("spool", "verify", str(directory), "--json").stdout.splitlines()]
    assert [f["finding"] for f in found if "finding" in f] == ["W204"], "nothing but what is known to be missing"
