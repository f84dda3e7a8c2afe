# SPDX-License-Identifier: Apache-2.0
"""How an upstream is treated that comes back, that takes only so much, and that gets slower with load. Each prints its figures;
WEIR_TEST_SECONDS=60 looks on for longer than the eight seconds that do for a bound on counts, and at more upstreams."""

import os
import re
import time

import pytest

from weirtest import SLOW, wait_for

WINDOW = float(os.environ.get("WEIR_TEST_SECONDS", "8"))
OUTAGE = max(5.0, WINDOW / 2)
DEFAULTS = {"retry": {"initial": "1s", "max": "30s"}}
SMALL = {"max_request_size": "8KiB", "timeout": "10s"}


def spend(seconds):
    """Lets a window of time pass whose counts are looked at."""
    until = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() >= until, seconds + 5, "the window is over")


def backlog(box, weir, exports):
    """So many blocks of one request each, none of which joins another within SMALL."""
    box.gen(weir, signal="traces", items=10 * exports, items_per_request=10, payload_bytes=7000)


@pytest.mark.parametrize("away", ["refuses connections", "answers 503"])
def test_first_delivery_after_an_outage(box, away):
    sink = box.sink()
    weir = box.weir({"name": "up0", "endpoint": sink.url("grpc"), **DEFAULTS})
    box.gen(weir, items=100)
    weir.wait_drained()

    def switch(on):
        if away == "refuses connections":
            sink.listen(on)
        else:
            sink.mode(**({"ok": 1} if on else {"status": 503}))

    switch(False)
    box.gen(weir, items=2000, first_id=100, in_flight=4)
    spend(OUTAGE)
    # Refusals are slowed down for at first; a few in a row are an outage, sooner where more is sent.
    wait_for(lambda: weir.upstream()["state"] in ("backing_off", "probing"), 30, lambda: weir.upstream())
    gen = box.gen_start(weir, items=2000, first_id=2100, rate=500, in_flight=4, stream="live")
    before = sink.stats("traces")["requests"]
    began = time.monotonic()
    switch(True)
    wait_for(lambda: sink.stats("traces")["requests"] > before, 2 * 30 / SLOW, "the first delivery, within twice retry.max")
    first = time.monotonic() - began
    assert gen.wait()["code"] == 0
    weir.wait_drained()
    box.note(f"an outage of {OUTAGE:.0f} s that {away}: the first delivery {first:.2f} s after its end, all {time.monotonic() - began:.2f} s")
    assert sink.ids("traces") == set(range(4100)) and sink.stats("traces")["duplicates"] == 0


@pytest.mark.parametrize("rate", [100] if WINDOW < 30 else [5, 20, 100, 400])
def test_an_upstream_that_takes_so_many_a_second_is_used_and_rarely_refuses(box, rate):
    warm_up = 25
    sink = box.sink()
    sink.listen(False)
    weir = box.weir({"name": "up0", "endpoint": sink.url("grpc"), **DEFAULTS, **SMALL})
    backlog(box, weir, int(rate * (warm_up + WINDOW + 5)))
    sink.mode(rate=rate, burst=max(1, rate // 10))
    sink.listen(True)
    wait_for(lambda: sink.stats("traces")["requests"] > 0, 60, "it delivers")
    spend(warm_up)
    before, began = sink.stats("traces"), time.monotonic()
    spend(WINDOW)
    after, seconds = sink.stats("traces"), time.monotonic() - began
    taken = after["requests"] - before["requests"]
    refused = after["refused_requests"] - before["refused_requests"]
    used, part = taken / (rate * seconds), refused / max(1, taken + refused)
    box.note(f"{rate}/s for {seconds:.0f} s: {100 * used:.1f} % used, {100 * part:.1f} % refused; flow {weir.upstream()['flow']}")
    assert weir.upstream()["backlog"]["items"] > 0, "there was more to send all the time"
    assert used >= 0.9 and part <= 0.05


@pytest.mark.parametrize("signals", [["traces"], ["traces", "logs"]])
def test_one_in_three_refused_at_random_is_no_limit(box, signals):
    """As behind a balancer one of whose three replicas refuses everything. Refusals cost the sink nothing: it could take 250 a second."""
    sink = box.sink()
    sink.listen(False)
    weir = box.weir({"name": "up0", "endpoint": sink.url("grpc"), **DEFAULTS, **SMALL})
    for signal in signals:
        box.gen(weir, signal=signal, items=60000 // len(signals), items_per_request=10, payload_bytes=7000)
    sink.mode(service_ms=4, slots=1)
    sink.listen(True)

    def counts():
        stats = [sink.stats(signal) for signal in signals]
        return [sum(each[key] for each in stats) for key in ("requests", "refused_requests")]

    wait_for(lambda: counts()[0] > 500, 60, "it delivers")
    sink.mode(one_in=3, service_ms=4, slots=1)
    before, began = counts(), time.monotonic()
    wait_for(lambda: counts()[0] - before[0] >= 2000, 60, "2000 more")
    seconds = time.monotonic() - began
    taken, refused = (after - first for after, first in zip(counts(), before))
    box.note(f"one in three refused of {' and '.join(signals)}: {taken / seconds:.0f} a second taken, {100 * refused / (taken + refused):.0f} % refused; "
             f"flow {weir.upstream()['flow']}")
    assert weir.upstream()["backlog"]["items"] > 0, "there was more to send all the time"
    assert taken / seconds >= 250 / 3  # half of what it takes then


def send_durations(weir):
    """(sum of seconds, count) of exports of traces."""
    _, _, body = weir.get("/metrics")
    of = {m[1]: float(m[2]) for m in re.finditer(r'weir_lane_send_duration_seconds_(sum|count)\{[^}]*signal="traces"[^}]*\} (\S+)', body.decode())}
    return of["sum"], of["count"]


def test_an_upstream_that_gets_slower_with_load_is_held_near_its_knee(box):
    service_ms, slots = 20, 4  # 200 a second; beyond four under way each waits for the others
    sink = box.sink()
    sink.listen(False)
    weir = box.weir({"name": "up0", "endpoint": sink.url("grpc"), "max_in_flight": 64, **DEFAULTS, **SMALL})
    capacity = 1000 / service_ms * slots
    backlog(box, weir, int(capacity * (6 + WINDOW + 5)))
    sink.mode(service_ms=service_ms, slots=slots)
    sink.listen(True)
    wait_for(lambda: sink.stats("traces")["requests"] > 0, 60, "it delivers")
    spend(6)
    before, began, durations = sink.stats("traces")["requests"], time.monotonic(), send_durations(weir)
    spend(WINDOW)
    taken, seconds = sink.stats("traces")["requests"] - before, time.monotonic() - began
    total, count = (a - b for a, b in zip(send_durations(weir), durations))
    latency_ms, used = 1000 * total / count, taken / (capacity * seconds)
    box.note(f"a knee at {slots} of {service_ms} ms: {100 * used:.1f} % used, {latency_ms:.0f} ms an export "
          f"({64 * service_ms / slots:.0f} with all 64 in flight); flow {weir.upstream()['flow']}")
    assert weir.upstream()["backlog"]["items"] > 0
    assert used >= 0.9 and latency_ms <= 4 * service_ms
