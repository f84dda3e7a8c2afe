# SPDX-License-Identifier: Apache-2.0
"""A disk that is slow, and more data than memory may hold: refused with a delay, bounded, and over when the disk is back."""

import json
import socket

import pytest

from weirtest import BUILD, GRPC_PATHS, SANITIZER, TRANSPORTS, probe, rpc_status, wait_for

MIB = 1 << 20
REQUESTS = 64  # of 1 MiB at once, over each transport


def metric(weir, name):
    lines = weir.get("/metrics")[2].decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name + " "))


def slow_disk(box, ms):
    knob = box.file("fdatasync-ms", b"0")
    env = {"LD_PRELOAD": str(BUILD / "tests" / "slow_fdatasync.so"), "WEIR_TEST_FDATASYNC_MS_FILE": str(knob)}
    return knob, env


@pytest.mark.skipif(SANITIZER == "tsan", reason="TSan's runtime does not start behind another preloaded library")
def test_64_requests_of_1_mib_at_once_over_both_transports(box):
    sink = box.sink()
    knob, env = slow_disk(box, 0)
    weir = box.weir(sink.url("grpc"), env=env)
    box.gen(weir, items=10, first_id=1_000_000)  # spool and connections are warm
    knob.write_bytes(b"500")
    gens = [
        box.gen_start(weir, transport, items=10 * REQUESTS, items_per_request=10, payload_bytes=MIB, first_id=at * 10 * REQUESTS,
                      connections=8, in_flight=REQUESTS // 8, timeout_ms=60_000)
        for at, transport in enumerate(("grpc", "http"))
    ]
    peak = 0

    def sample():
        nonlocal peak
        peak = max(peak, weir.anonymous_bytes())
        return not any(gen.process.alive() for gen in gens)

    wait_for(sample, 120, "both generators have their answers")
    results = [gen.wait() for gen in gens]
    box.note(f"anonymous memory at most {peak / MIB:.1f} MiB; refused: {[r['refused'] for r in results]}")
    for result, refusal in zip(results, ("UNAVAILABLE", "HTTP 503")):
        assert result["acked_items"] + result["failed_items"] == 10 * REQUESTS, "each request has an answer"
        assert set(result["refused"]) <= {refusal}, "nothing but a retryable refusal"
        assert result["refused_with_delay"] == sum(result["refused"].values()), "each with a delay"
    if SANITIZER:
        box.note("the bound on memory is not checked: a sanitizer's own memory would be counted")
    else:
        assert peak < 160 * MIB

    # Ingest resumes, and nothing that was acknowledged is lost.
    knob.write_bytes(b"0")
    again = [box.gen_start(weir, t, items=200, first_id=10_000 + at * 200, retry=True) for at, t in enumerate(("grpc", "http"))]
    assert all(gen.wait()["code"] == 0 for gen in again)
    weir.wait_drained()
    acked = set().union(*(gen.acked() for gen in box.gens))
    assert acked == sink.ids("traces")
    assert weir.status()["receiver"]["unwritten_bytes"] == 0


def status_of_json(answer):
    """Code and delay of a google.rpc.Status in JSON, with its RetryInfo."""
    assert answer["http_status"] == 503 and answer["headers"]["content-type"] == "application/json" and int(answer["headers"]["retry-after"]) >= 1
    status = json.loads(answer["body"])
    assert status["details"][0]["@type"] == "type.googleapis.com/google.rpc.RetryInfo" and status["message"]
    return status["code"], status["details"][0]["retryDelay"]


def test_the_refusal_itself(box):
    """UNAVAILABLE with RetryInfo in both places that clients look at, Trailers-Only; 503 with Retry-After (E13, G20-G23)."""
    sink = box.sink()
    weir = box.weir(sink.url("grpc"), config={"spool": {"max_unwritten": "1MiB"}, "receiver": {"max_request_size": "1MiB"}})
    body = box.body("traces", items=10, payload_bytes=600_000)
    for _ in range(10):
        with socket.create_connection(weir.http.rsplit(":", 1), 10) as peer:
            # Nearly 900 kB are held by a request that has not come in whole. After a second it has to make place: then once more.
            peer.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 900000\r\n\r\n")
            peer.sendall(b"\n" * 899_999)
            wait_for(lambda: metric(weir, "weir_receiver_promised_bytes") >= 899_999, 20, "memory is promised")
            grpc = probe(weir.grpc, "grpc", GRPC_PATHS["traces"], body, box, flag=0)
            http = probe(weir.http, "http", "/v1/traces", body, box)
            json_answer = probe(weir.http, "http", "/v1/traces", body, box, header="content-type: application/json")
        if grpc["headers"].get("grpc-status") == "14" and http["http_status"] == json_answer["http_status"] == 503:
            break
    assert (grpc["http_status"], grpc["headers"].get("grpc-status"), grpc["trailers"]) == (200, "14", {}), grpc
    assert "grpc-status-details-bin" in grpc["headers"] and "google.rpc.retryinfo-bin" in grpc["headers"]
    assert http["http_status"] == 503 and 1 <= int(http["headers"]["retry-after"]) <= 3, http
    assert http["headers"]["content-type"] == "application/x-protobuf"
    code, text, delay = rpc_status(http["body"])
    assert code == 14 and text and 1 <= delay <= 3
    assert status_of_json(json_answer) == (14, "1.000s"), json_answer  # J18
    # The promise ends with the connection.
    wait_for(lambda: metric(weir, "weir_receiver_promised_bytes") == 0, 20, "nothing is promised any more")
    box.gen(weir, items=10, payload_bytes=900_000)
    weir.wait_drained()
    assert sink.ids("traces") == set(range(10))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_full_spool_refuses_and_heals(box, transport):
    """Full by its own limit: refused with a delay before the body, not ready; the lanes drain, and it takes data again (E12)."""
    sink = box.sink()
    sink.listen(False)
    weir = box.weir(sink.url("grpc"), config={"spool": {"max_size": "64MiB", "segment_size": "16MiB"}})
    result = box.gen(weir, transport, signal="logs", items=60_000, items_per_request=100, payload_bytes=MIB, in_flight=8, deadline_ms=250_000,
                     expect_all=False)
    assert 0 < result["acked_items"] < 60_000, result
    assert set(result["refused"]) == {"UNAVAILABLE" if transport == "grpc" else "HTTP 503"}, result
    assert result["refused_with_delay"] == sum(result["refused"].values())
    status = weir.status()
    assert status["spool"]["state"] == "full" and not status["weir"]["ready"] and status["weir"]["reason"]
    assert status["spool"]["used_bytes"] <= status["spool"]["max_bytes"] == 64 * MIB
    assert weir.get("/readyz")[0] == 503 and weir.get("/healthz")[0] == 200
    assert weir.terminate() == 0 and weir.start().lane("logs")["pending"] == result["acked_items"], "a full spool opens"
    sink.listen(True)
    weir.wait_drained()
    wait_for(lambda: weir.status()["weir"]["ready"], 30, lambda: weir.status())
    box.gen(weir, transport, signal="logs", items=1000, first_id=1_000_000, retry=True)
    weir.wait_drained()
    acked = set().union(*(gen.acked() for gen in box.gens))
    assert sink.ids("logs") == acked and sink.stats("logs")["duplicates"] == 0
    weir.check_ledger()
