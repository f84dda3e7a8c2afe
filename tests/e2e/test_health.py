# SPDX-License-Identifier: Apache-2.0
"""grpc.health.v1 on the gRPC port (G42): it says what /readyz says, also while data is refused."""

import signal
import socket

from weirtest import GRPC_PATHS, field, probe, request, wait_for

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING = 1, 2


def check(box, relay, service=""):
    """The status, or the negated gRPC status of a refusal."""
    answer = probe(relay.grpc, "grpc", CHECK, field(1, service.encode()) if service else b"", box, flag=0)
    if "grpc-status" in answer["headers"]:
        return -int(answer["headers"]["grpc-status"])
    assert answer["trailers"]["grpc-status"] == "0" and answer["body"][:6] == b"\x00\x00\x00\x00\x02\x08", answer
    return answer["body"][6]


class Watcher:
    """Watch as it goes over the wire: one HTTP/2 stream, read frame by frame."""

    def __init__(self, relay):
        self.socket = socket.create_connection(relay.grpc.rsplit(":", 1), 20)
        self.file = self.socket.makefile("rb")
        self.said = []
        self.ended = False
        headers = {":method": "POST", ":scheme": "http", ":authority": "x", ":path": WATCH, "content-type": "application/grpc", "te": "trailers"}
        block = b"".join(b"\x00%c%s%c%s" % (len(n), n.encode(), len(v), v.encode()) for n, v in headers.items())
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(4, 0, 0, b"") + self.frame(1, 4, 1, block) +
                            self.frame(0, 1, 1, b"\x00\x00\x00\x00\x00"))

    @staticmethod
    def frame(kind, flags, stream, payload):
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    def read(self):
        head = self.file.read(9)
        assert len(head) == 9, "the connection ended"
        payload = self.file.read(int.from_bytes(head[:3], "big"))
        if head[3] == 0 and payload:  # DATA
            assert payload[:6] == b"\x00\x00\x00\x00\x02\x08", payload
            self.said.append(payload[6])
        if head[8] == 1 and head[3] in (0, 1) and head[4] & 1:  # END_STREAM on stream 1
            self.ended = True

    def until(self, *said):
        while self.said != list(said) and not self.ended:
            self.read()
        assert self.said == list(said)


def test_check_and_watch_follow_a_spool_that_is_full(box):
    sink = box.sink()
    sink.listen(False)
    relay = box.weir(sink.url("grpc"), config={"spool": {"max_size": "8MiB", "segment_size": "1MiB"}})
    watcher = Watcher(relay)
    watcher.until(SERVING)
    assert check(box, relay) == check(box, relay, GRPC_PATHS["logs"].split("/")[1]) == SERVING
    assert check(box, relay, "weir") == -5, "NOT_FOUND"
    result = box.gen(relay, items=40_000, items_per_request=100, payload_bytes=100_000, in_flight=4, expect_all=False)
    assert result["acked_items"] < 40_000
    watcher.until(SERVING, NOT_SERVING)
    assert check(box, relay) == NOT_SERVING and relay.get("/readyz")[0] == 503
    sink.listen(True)
    watcher.until(SERVING, NOT_SERVING, SERVING)
    relay.wait_drained()
    assert check(box, relay) == SERVING


def test_not_serving_for_the_whole_shutdown_delay(box):
    relay = box.weir("grpc://127.0.0.1:1", config={"receiver": {"shutdown_delay": "1h"}})
    watcher = Watcher(relay)
    watcher.until(SERVING)
    relay.process.signal(signal.SIGTERM)
    watcher.until(SERVING, NOT_SERVING)
    assert check(box, relay) == NOT_SERVING
    box.gen(relay, items=10)  # still taken
    relay.process.signal(signal.SIGTERM)
    relay.process.wait(5)


def test_health_is_asked_without_a_token(box):
    """Probes of Kubernetes and load balancers bring none."""
    relay = box.weir("grpc://127.0.0.1:1", config={"receiver": {"auth": {"bearer_token_file": str(box.file("token", b"a" * 32))}}})
    assert probe(relay.grpc, "grpc", GRPC_PATHS["logs"], b"", box, flag=0)["headers"]["grpc-status"] == "16"
    assert check(box, relay) == SERVING
    Watcher(relay).until(SERVING)


def test_the_end_does_not_wait_for_a_watcher(box):
    relay = box.weir("grpc://127.0.0.1:1")
    watcher = Watcher(relay)
    watcher.until(SERVING)
    relay.process.signal(signal.SIGTERM)
    while not watcher.ended:
        watcher.read()
    assert relay.process.wait(5) == 0


def test_connections_that_reach_their_age_cost_no_request(box):
    """GOAWAY all the time over gRPC, Connection: close over HTTP: nothing is refused, nothing arrives twice (G40, G41)."""
    sink = box.sink()
    ages = {"grpc": {"max_connection_age": "300ms"}, "http": {"max_connection_age": "300ms"}}
    relay = box.weir(sink.url("grpc"), config={"receiver": ages})
    for at, transport in enumerate(("grpc", "http")):
        result = box.gen(relay, transport, items=3000, items_per_request=10, rate=1500, connections=2, first_id=3000 * at)
        assert result["acked_items"] == 3000 and result["uncertain_items"] == 0, result
    relay.wait_drained()
    assert sink.ids("traces") == set(range(6000)) and sink.stats("traces")["duplicates"] == 0


def test_a_weir_that_drains_serves_nobody(box):
    """For those who ask, and for those who watch."""
    weir = box.weir(box.sink().url("grpc"))
    watcher = Watcher(weir)
    watcher.until(SERVING)
    assert request(weir.admin, "POST", "/v1/drain")[0] == 200
    assert check(box, weir) == NOT_SERVING == check(box, weir, "opentelemetry.proto.collector.logs.v1.LogsService")
    watcher.until(SERVING, NOT_SERVING)
    assert request(weir.admin, "POST", "/v1/drain", '{"cancel":true}')[0] == 200
    watcher.until(SERVING, NOT_SERVING, SERVING)
    assert check(box, weir) == SERVING
