# SPDX-License-Identifier: Apache-2.0
"""The main job: what clients send arrives at every upstream, and the ledger is exact."""

import pytest

from weirtest import GRPC_PATHS, SIGNALS, TRANSPORTS, field, probe, read_record, wait_for

ITEMS = 600  # per signal, transport and encoding


@pytest.mark.parametrize("upstream", TRANSPORTS)
def test_three_signals_both_transports_all_encodings(box, upstream):
    sink = box.sink()
    weir = box.weir(sink.url(upstream))
    gens, total = [], 0
    for transport in TRANSPORTS:
        for encoding in ("identity", "gzip", "zstd"):
            for signal in SIGNALS:
                gens.append(box.gen_start(weir, transport, signal=signal, encoding=encoding, items=ITEMS, first_id=total,
                                          items_per_request=7, in_flight=3, stream=f"{transport}-{encoding}"))
            total += ITEMS
    for gen in gens:
        assert gen.wait()["code"] == 0
    weir.wait_drained()
    for signal in SIGNALS:
        stats = sink.stats(signal)
        assert sink.ids(signal) == set(range(total))
        assert stats["duplicates"] == 0
        assert sum(stats["encodings"].values()) == stats["encodings"]["zstd"], "compression: auto takes zstd where it is taken"
        lane = weir.check_ledger()["up0"][signal]
        assert lane["accepted"] == lane["delivered"] == total and lane["rejected_by_upstream"] == 0
        received = weir.status()["receiver"]["signals"][signal]
        assert received["items"] == total and received["refused_requests"] == 0
    assert sink.stats("metrics")["order_violations"] == 0


@pytest.mark.parametrize("compression,seen", [("none", "identity"), ("gzip", "gzip"), ("zstd", "zstd")])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_compression_is_what_is_configured(box, transport, compression, seen):
    sink = box.sink()
    weir = box.weir({"name": "up0", "endpoint": sink.url(transport), "compression": compression})
    for signal in SIGNALS:
        box.gen(weir, signal=signal, items=200, encoding="zstd")
    weir.wait_drained()
    for signal in SIGNALS:
        stats = sink.stats(signal)
        assert stats["encodings"][seen] == stats["requests"] > 0 and stats["distinct"] == 200


def test_two_upstreams_each_get_everything(box):
    one, two = box.sink(), box.sink()
    weir = box.weir(one.url("grpc"), two.url("http"))
    for signal in SIGNALS:
        box.gen(weir, "http", signal=signal, items=1000, in_flight=4)
    weir.wait_drained()
    ledger = weir.check_ledger()
    for signal in SIGNALS:
        assert one.ids(signal) == two.ids(signal) == set(range(1000))
        assert [ledger[name][signal]["delivered"] for name in ("up0", "up1")] == [1000, 1000]


def test_one_upstreams_outage_does_not_hold_the_other(box):
    up, down = box.sink(), box.sink()
    down.listen(False)
    weir = box.weir(up.url("grpc"), down.url("grpc"))
    box.gen(weir, items=1000)
    wait_for(lambda: weir.lane("traces", "up0")["pending"] == 0, 30, "the upstream that is there has everything")
    assert up.ids("traces") == set(range(1000))
    assert weir.lane("traces", "up1")["pending"] == 1000
    down.listen(True)
    weir.wait_drained()
    assert down.ids("traces") == set(range(1000)) and down.stats("traces")["duplicates"] == 0


def test_an_upstream_takes_only_its_signals(box):
    logs, rest = box.sink(), box.sink()
    weir = box.weir({"name": "logs", "endpoint": logs.url("grpc"), "signals": ["logs"]},
                    {"name": "rest", "endpoint": rest.url("grpc"), "signals": ["traces", "metrics"]})
    for signal in SIGNALS:
        box.gen(weir, signal=signal, items=100)
    weir.wait_drained()
    assert [logs.stats(s)["distinct"] for s in SIGNALS] == [0, 0, 100]
    assert [rest.stats(s)["distinct"] for s in SIGNALS] == [100, 100, 0]
    assert weir.lane("logs", "logs")["accepted"] == 100


def test_bytes_arrive_as_sent_unknown_fields_and_zero_fields_too(box):
    """What is stored and sent are the client's bytes, not a decoder's idea of them (J19)."""
    sink = box.sink(record=box.directory / "bodies")
    weir = box.weir({"name": "up0", "endpoint": sink.url("grpc"), "max_request_size": "1MiB"})
    span = field(5, b"") + field(10, 0) + field(900, b"from the future") + field(901, 7)  # empty name, zero count
    body = field(1, field(2, field(2, span)) + field(77, b"later"))
    answer = probe(weir.grpc, "grpc", GRPC_PATHS["traces"], body, box, flag=0)
    assert answer["trailers"]["grpc-status"] == "0", answer
    weir.wait_drained()
    assert read_record(box.directory / "bodies") == [("traces", body)]


def test_empty_requests_are_taken(box):
    sink = box.sink()
    weir = box.weir(sink.url("grpc"))
    for signal in SIGNALS:
        assert probe(weir.grpc, "grpc", GRPC_PATHS[signal], b"", box, flag=0)["trailers"]["grpc-status"] == "0"
        answer = probe(weir.http, "http", f"/v1/{signal}", b"", box)
        assert (answer["http_status"], answer["body"]) == (200, b"")
    weir.wait_drained()
    weir.check_ledger()


def test_a_restart_keeps_the_ledger(box):
    sink = box.sink()
    sink.mode(status=14)
    weir = box.weir(sink.url("grpc"))
    box.gen(weir, items=500)
    assert weir.terminate() == 0
    weir.start()
    assert weir.lane("traces") == dict(accepted=500, delivered=0, pending=500, dead_lettered=0, evicted=0, discarded=0,
                                       rejected_by_upstream=0, replayed=0)
    sink.mode(ok=1)
    weir.wait_drained()
    assert weir.terminate() == 0
    assert weir.start().lane("traces")["delivered"] == 500
    assert sink.ids("traces") == set(range(500))
