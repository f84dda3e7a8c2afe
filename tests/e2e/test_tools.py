# SPDX-License-Identifier: Apache-2.0
"""weir-gen straight into weir-sink: what the other tests measure with must itself be right."""

import time

import pytest

from weirtest import GRPC_PATHS, SIGNALS, TRANSPORTS, fields, probe, read_record, rpc_status


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_every_number_arrives_once_and_in_order(box, signal, transport):
    sink = box.sink(record=box.directory / "bodies")
    for at, encoding in enumerate(("identity", "gzip", "zstd")):
        result = box.gen(sink, transport, signal=signal, items=1003, items_per_request=10, first_id=at * 1003, in_flight=4,
                         connections=2, encoding=encoding)
        assert result["acked_items"] == result["sent_items"] == 1003
    stats = sink.stats(signal)
    assert (stats["distinct"], stats["duplicates"], stats["order_violations"]) == (3009, 0, 0)
    assert stats["requests"] == 303 and all(n == 101 for n in stats["encodings"].values())
    assert sink.ids(signal) == set(range(3009))
    assert box.gens[0].acked() | box.gens[1].acked() | box.gens[2].acked() == set(range(3009))
    bodies = read_record(box.directory / "bodies")
    assert len(bodies) == 303 and sum(len(b) for _, b in bodies) == stats["raw_bytes"]
    assert all(s == signal and fields(b)[0][0] == 1 for s, b in bodies)


def test_payload_has_the_size_asked_for(box):
    sink = box.sink()
    for signal in SIGNALS:
        box.gen(sink, signal=signal, items=50, items_per_request=10, payload_bytes=8192)
        assert 0.9 * 8192 < sink.stats(signal)["raw_bytes"] / 5 < 1.1 * 8192


def test_statuses_delays_and_counts(box):
    sink = box.sink()
    sink.mode(signal="traces", transport="grpc", status=14, retry_delay_ms=30, count=3)
    result = box.gen(sink, items=100, retry=True)
    assert result["refused"] == {"UNAVAILABLE": 3} and result["refused_with_delay"] == 3 and result["retries"] == 3
    sink.mode(status=429, retry_delay_ms=1000, count=2)
    result = box.gen(sink, "http", signal="logs", items=100, retry=True, retry_max_ms=20)
    assert result["refused"] == {"HTTP 429": 2} and result["refused_with_delay"] == 2
    sink.mode(status=3)
    result = box.gen(sink, items=10, first_id=100, retry=True, expect_all=False)
    assert result["failed_items"] == 10 and result["refused"] == {"INVALID_ARGUMENT": 1}
    assert sink.stats("traces")["distinct"] == 100
    assert sink.stats("traces")["refused_requests"] == 4


def test_hang_cut_and_outage_are_uncertain_or_refused(box):
    sink = box.sink()
    for transport in TRANSPORTS:
        sink.reset()
        sink.mode(cut=1, count=1)
        result = box.gen(sink, transport, items=10, retry=True)
        assert result["uncertain_items"] == 10 and sink.stats("traces")["duplicates"] == 10
        sink.mode(hang=1, count=1)
        result = box.gen(sink, transport, items=10, first_id=10, retry=True, timeout_ms=300)
        assert result["refused"] == {"timeout": 1} and sink.stats("traces")["distinct"] == 20
        sink.listen(False)
        result = box.gen(sink, transport, items=10, first_id=20, deadline_ms=300, retry=True, expect_all=False)
        assert result["acked_items"] == 0 and set(result["refused"]) == {"connect"} and result["uncertain_items"] == 0
        sink.listen(True)
        box.gen(sink, transport, items=10, first_id=20)
        assert sink.ids("traces") == set(range(30))


def test_limits_encodings_partial_and_poison(box):
    sink = box.sink()
    sink.mode(refuse="zstd")
    assert box.gen(sink, items=10, encoding="zstd", expect_all=False)["refused"] == {"UNIMPLEMENTED": 1}
    assert box.gen(sink, "http", items=10, encoding="zstd", expect_all=False)["refused"] == {"HTTP 415": 1}
    box.gen(sink, items=10, encoding="gzip")
    sink.mode(limit_bytes=1000)
    assert box.gen(sink, "http", items=10, expect_all=False)["refused"] == {"HTTP 413": 1}
    sink.mode(partial=2)
    box.gen(sink, items=10, first_id=10)
    assert sink.stats("traces")["rejected_items"] == 2
    sink.mode(poison_id=25)
    result = box.gen(sink, items=20, first_id=20, expect_all=False)
    assert result["acked_items"] == 10 and result["refused"] == {"INVALID_ARGUMENT": 1}


def test_probe_shows_all_of_an_answer(box):
    sink = box.sink()
    body = box.body("traces")
    answer = probe(sink.grpc, "grpc", GRPC_PATHS["traces"], body, box, flag=0)
    assert answer["http_status"] == 200 and answer["trailers"]["grpc-status"] == "0" and answer["body"] == bytes(5)
    sink.mode(status=14, retry_delay_ms=1500)
    answer = probe(sink.grpc, "grpc", GRPC_PATHS["traces"], body, box, flag=0)
    assert answer["headers"]["grpc-status"] == "14" and not answer["trailers"]
    answer = probe(sink.http, "http", "/v1/traces", body, box)
    assert answer["http_status"] == 503 and answer["headers"]["retry-after"] == "2"
    assert rpc_status(answer["body"])[::2] == (14, 1.5)


def test_a_limiter_refuses_what_is_beyond_its_rate(box):
    sink = box.sink()
    sink.mode(rate=1, burst=7, status=429)
    began = time.monotonic()
    result = box.gen(sink, "http", items=40, items_per_request=1, expect_all=False)
    seconds = time.monotonic() - began
    assert 7 <= result["acked_items"] <= 8 + seconds and set(result["refused"]) == {"HTTP 429"}
    sink.mode(rate=1)
    result = box.gen(sink, items=2, first_id=40, items_per_request=1, expect_all=False)
    assert set(result["refused"]) <= {"UNAVAILABLE"}


def test_a_queue_takes_as_long_as_its_workers_are_busy(box):
    sink = box.sink()
    sink.mode(service_ms=20, slots=2)
    began = time.monotonic()
    box.gen(sink, items=30, items_per_request=1, in_flight=6)
    assert time.monotonic() - began >= 30 * 0.02 / 2
    assert sink.stats("traces")["distinct"] == 30
