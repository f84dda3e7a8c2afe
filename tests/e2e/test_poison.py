# SPDX-License-Identifier: Apache-2.0
"""One item that the upstream will not take, among many: it alone is a dead letter, finding it costs at most 2·log2(n) exports, wherever it lies."""

import json
import math
import os
import random
import re
import shutil
import time

import pytest

from test_export import export
from test_start import weir as command
from weirtest import HTTP_PATHS, SIGNALS, TRANSPORTS, request, scaled, wait_for

ITEMS = int(os.environ.get("WEIR_TEST_POISON_ITEMS", 24000))  # over three signals: fewer would be one export each
EACH_TRANSPORT = "WEIR_TEST_POISON_ITEMS" in os.environ
CRAFTED = 100  # of each signal, in the middle: ids from `middle` on, see craft()


def attribute(key, **value):
    return {"key": key, "value": value}


def item(signal, number):
    """One span, data point or log record."""
    now = str(time.time_ns())
    times = {"traces": {"startTimeUnixNano": now, "endTimeUnixNano": now, "name": "crafted"},
             "metrics": {"timeUnixNano": now, "asInt": str(number)},
             "logs": {"timeUnixNano": now, "body": {"stringValue": "crafted"}}}[signal]
    return {**times, "attributes": [attribute("weir.test.id", intValue=str(number))]}


def scope(signal, numbers):
    items = [item(signal, n) for n in numbers]
    if signal == "metrics":  # one metric; the others of its kind beside it
        return {"scope": {"name": "s"}, "metrics": [{"name": "m", "unit": "ms", "sum": {"dataPoints": items, "aggregationTemporality": 2, "isMonotonic": True}}]}
    return {"scope": {"name": "s"}, {"traces": "spans", "logs": "logRecords"}[signal]: items}


def resource(signal, *scopes):
    name = {"traces": "scopeSpans", "metrics": "scopeMetrics", "logs": "scopeLogs"}[signal]
    return {"resource": {"attributes": [attribute("weir.test.stream", stringValue="gen")]}, name: [scope(signal, s) for s in scopes]}


def send(relay, signal, *resources):
    root = {"traces": "resourceSpans", "metrics": "resourceMetrics", "logs": "resourceLogs"}[signal]
    body = json.dumps({root: list(resources)})
    status, _, answer = request(relay.http, "POST", HTTP_PATHS[signal], body, {"content-type": "application/json"})
    assert status == 200, answer


def craft(relay, signal, at):
    """CRAFTED items from `at` on, in every shape. Returns what to poison: {class: id}."""
    send(relay, signal, resource(signal, [at]))
    send(relay, signal, resource(signal, range(at + 1, at + 10), [at + 10], range(at + 11, at + 20)))
    send(relay, signal, resource(signal, range(at + 20, at + 30)), resource(signal, [at + 30]), resource(signal, range(at + 31, at + 40)))
    send(relay, signal, resource(signal, range(at + 40, at + CRAFTED)))
    return {"alone in its request": at, "alone in its scope": at + 10, "alone in its resource": at + 30, "within a scope or metric": at + 70}


def blocks_of(spool, signal):
    """[(number, first id, end id)]: one sender, one connection, so that ids lie in the order of the blocks."""
    done = command("spool", "list", str(spool), "--blocks", "--signal", signal, "--json")
    blocks, at = [], 0
    for line in map(json.loads, done.stdout.splitlines()):
        if line.get("signal") == signal and "items" in line:
            blocks.append((line["block"], at, at + line["items"]))
            at += line["items"]
    return blocks


class Backlog:
    """A spool with ITEMS items that nobody has got yet, and where what lies in it."""

    def __init__(self, box):
        self.box, self.each, self.runs = box, ITEMS // len(SIGNALS), 0
        self.config = {"receiver": {"workers": 1}, "spool": {"segment_size": "4MiB"}}
        relay = box.weir(self.upstream(f"grpc://{box.port().address}"), name="backlog", config=self.config)
        middle = self.each // 2
        self.crafted = {}
        for signal in SIGNALS:
            box.gen(relay, signal=signal, items=middle, items_per_request=25, in_flight=10)
            self.crafted[signal] = craft(relay, signal, middle)
            box.gen(relay, signal=signal, items=self.each - middle - CRAFTED, first_id=middle + CRAFTED, items_per_request=25, in_flight=10)
        assert relay.terminate() == 0
        self.spool = relay.spool
        self.blocks = {signal: blocks_of(self.spool, signal) for signal in SIGNALS}

    @staticmethod
    def upstream(endpoint):
        return {"name": "up0", "endpoint": endpoint, "start": "oldest", "compression": "zstd", "max_request_size": "256KiB", "retry": {"initial": "10ms", "max": "50ms"}}

    def relay(self, endpoint):
        """A relay with a copy of the backlog."""
        self.runs += 1
        name = f"run{self.runs}"
        shutil.copytree(self.spool, self.box.directory / f"{name}.spool")
        (self.box.directory / f"{name}.spool" / "LOCK").unlink(missing_ok=True)
        return self.box.weir(self.upstream(endpoint), name=name, config=self.config)

    def exports(self, sink, signal):
        """[(first id, end id)] of exports of whole blocks."""
        ids = {number: (first, end) for number, first, end in self.blocks[signal]}
        batches = [re.search(r"/(\d+)-(\d+)$", a["headers"]["weir-batch"]).groups() for a in sink.attempts(signal=signal)]
        return [(ids[int(first)][0], ids[int(last)][1]) for first, last in batches]


def classes(backlog, exports, signal):
    """{class of position: id}"""
    blocks = backlog.blocks[signal]
    first, end = sorted(exports)[len(exports) // 2]
    inside = [b for b in blocks if first <= b[1] and b[2] <= end]
    _, block_first, block_end = inside[len(inside) // 2]
    return {
        "first of the first block": 0,
        "last of the last block": backlog.each - 1,
        "first of an export": first,
        "middle of an export": (first + end) // 2,
        "last of an export": end - 1,
        "first of a block": block_first,
        "middle of a block": (block_first + block_end) // 2,
        "last of a block": block_end - 1,
        **backlog.crafted[signal],
    }


def end_of(relay):
    relay.wait_drained()
    return {signal: (items["delivered"], items["dead_lettered"]) for signal, items in relay.check_ledger()["up0"].items() if signal in SIGNALS}


def letters(relay):
    """{signal: ids}, of a relay that is stopped."""
    found, account = export(relay.spool, "--dead-letters")
    return {signal: sorted(found[signal].elements()) for signal in SIGNALS}, account["requests"]


def poison(sink, transport, ids):
    sink.reset()
    for signal in SIGNALS:
        sink.mode(signal=signal, poison_id=ids[signal], status=3 if transport == "grpc" else 400)


def one_poison(backlog, sink, transport, exports, ids):
    poison(sink, transport, ids)
    relay = backlog.relay(sink.url(transport))
    assert end_of(relay) == {signal: (backlog.each - 1, 1) for signal in SIGNALS}
    for signal in SIGNALS:
        assert sink.ids(signal) == set(range(backlog.each)) - {ids[signal]}
        assert sink.stats(signal)["duplicates"] == 0
        n = next(end - first for first, end in exports[signal] if first <= ids[signal] < end)
        extra = len(sink.attempts(signal=signal)) - len(exports[signal])
        print(f"{transport} {signal}: item {ids[signal]} among {n} of {backlog.each}: {extra} exports more, of {2 * math.log2(n):.1f}")
        assert extra <= 2 * math.log2(n), (signal, ids[signal], extra, n)
    assert relay.terminate() == 0
    assert letters(relay) == ({signal: [ids[signal]] for signal in SIGNALS}, len(SIGNALS))
    kept = [json.loads(line) for line in command("spool", "list", str(relay.spool), "--dead-letters", "--json").stdout.splitlines()]
    for letter in kept:
        refused = [a for a in sink.attempts(signal=letter["signal"]) if a["outcome"] not in (0, 200)]
        assert letter["attempts"] == len(refused) and letter["items"] == 1, letter
    shutil.rmtree(relay.spool)


def test_one_poison_item_at_every_kind_of_place(box):
    backlog, sink = Backlog(box), box.sink()
    relay = backlog.relay(sink.url("grpc"))
    assert end_of(relay) == {signal: (backlog.each, 0) for signal in SIGNALS}
    assert relay.terminate() == 0
    exports = {signal: backlog.exports(sink, signal) for signal in SIGNALS}
    assert all(len(e) >= 3 and sum(b - a for a, b in e) == backlog.each for e in exports.values()), exports
    places = {signal: classes(backlog, exports[signal], signal) for signal in SIGNALS}
    for i, name in enumerate(places["traces"]):
        for transport in TRANSPORTS if EACH_TRANSPORT else TRANSPORTS[i % 2:i % 2 + 1]:
            one_poison(backlog, sink, transport, exports, {signal: places[signal][name] for signal in SIGNALS})


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_killed_while_it_is_found(box, transport):
    backlog, sink, dice = Backlog(box), box.sink(), random.Random(5)
    ids = {signal: dice.randrange(backlog.each) for signal in SIGNALS}
    poison(sink, transport, ids)
    relay = backlog.relay(sink.url(transport))
    for _ in range(scaled(12)):
        seen = sink.stats()["attempts"]
        wait_for(lambda: relay.drained() or sink.stats()["attempts"] >= seen + dice.randrange(1, 12), 30, "some exports")
        relay.restart()
    assert end_of(relay) == {signal: (backlog.each - 1, 1) for signal in SIGNALS}
    for signal in SIGNALS:
        assert sink.ids(signal) == set(range(backlog.each)) - {ids[signal]}
    assert relay.terminate() == 0
    assert letters(relay)[0] == {signal: [ids[signal]] for signal in SIGNALS}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_dropped_where_that_is_wanted(box, transport):
    sink = box.sink()
    weir = box.weir({"name": "up0", "endpoint": sink.url(transport), "compression": "gzip", "on_reject": "drop"})
    poison(sink, transport, dict.fromkeys(SIGNALS, 33))
    for signal in SIGNALS:
        box.gen(weir, signal=signal, items=100, items_per_request=50)
    weir.wait_drained()
    for signal, items in weir.check_ledger()["up0"].items():
        if signal in SIGNALS:
            assert (items["delivered"], items["discarded"], items["dead_lettered"]) == (99, 1, 0), signal
            assert sink.ids(signal) == set(range(100)) - {33}
    assert weir.status()["dead_letters"]["requests"] == 0
    _, _, metrics = weir.get("/metrics")
    assert b'weir_lane_dropped_items_total{upstream="up0",signal="logs"} 1' in metrics
    assert weir.event("items_dropped")["items"] == 1
