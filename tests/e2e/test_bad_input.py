# SPDX-License-Identifier: Apache-2.0
"""Wrong requests get the answer that OTLP has for them, and cost nothing else."""

import gzip
import socket
import subprocess
import zlib

import pytest

from weirtest import GRPC_PATHS, SIGNALS, field, probe, request, rpc_status

LIMIT = 1 << 20
ACCEPTED = {"grpc": "identity,gzip,zstd,deflate,snappy", "http": "identity,gzip,zstd,deflate,zlib,snappy,x-snappy-framed,lz4"}


@pytest.fixture
def relay(box):
    sink = box.sink()
    return box.weir(sink.url("grpc"), config={"receiver": {"max_request_size": "1MiB"}})


def zstd(data):
    return subprocess.run(["zstd", "-c", "-q"], input=data, capture_output=True, check=True).stdout


def refused_grpc(answer, status, http_status=200):
    """Trailers-Only (G20), with the status as a number and no delay: sending the same again would not help."""
    assert answer["http_status"] == http_status, answer
    assert answer["headers"]["grpc-status"] == str(status), answer
    assert answer["headers"]["grpc-message"] and not answer["trailers"] and answer["body"] == b""
    assert "google.rpc.retryinfo-bin" not in answer["headers"] and "grpc-status-details-bin" not in answer["headers"]


def refused_http(answer, http_status, code):
    """A google.rpc.Status in protobuf (P15, P16), and no Retry-After."""
    assert answer["http_status"] == http_status, answer
    assert answer["headers"]["content-type"] == "application/x-protobuf"
    assert "retry-after" not in answer["headers"]
    got, message, delay = rpc_status(answer["body"])
    assert (got, delay) == (code, None) and message


MALFORMED = {
    "truncated": field(1, b"x" * 50)[:-10],
    "field 0": b"\x02\x01x",
    "wire type 7": b"\x0f",
    "group": b"\x0b\x0c",
    "long varint": b"\x08" + b"\xff" * 11,
    "wrong wire type of a known field": b"\x08\x01",
    "not protobuf": b"hello, world",
    "name is not UTF-8": field(1, field(2, field(2, field(5, b"\xff\xfe")))),
    "trace id of 15 bytes": field(1, field(2, field(2, field(1, b"x" * 15)))),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_protobuf(box, relay, name):
    # G17, E1
    refused_grpc(probe(relay.grpc, "grpc", GRPC_PATHS["traces"], MALFORMED[name], box, flag=0), 3)
    refused_http(probe(relay.http, "http", "/v1/traces", MALFORMED[name], box), 400, 3)
    lane = relay.lane("traces")
    assert lane["accepted"] == 0
    assert relay.status()["receiver"]["signals"]["traces"]["refused_requests"] == 2
    box.gen(relay, items=10)  # and all goes on


def test_nesting_that_would_overrun_a_stack(box, relay):
    value = b""
    for _ in range(6000):
        value = field(5, field(1, value))
    body = field(1, field(1, field(1, field(1, b"deep") + field(2, value))))
    refused_grpc(probe(relay.grpc, "grpc", GRPC_PATHS["traces"], body, box, flag=0), 3)
    refused_http(probe(relay.http, "http", "/v1/traces", body, box), 400, 3)


def test_wrong_paths(box, relay):
    # G31, E8
    for path in ("/", "/opentelemetry.proto.collector.trace.v1.TraceService/export", "/v1/traces", GRPC_PATHS["logs"] + "/"):
        refused_grpc(probe(relay.grpc, "grpc", path, b"", box, flag=0), 12)
    for path in ("/", "/v1/traces/", "/v1/traces/sub", "/V1/traces", "/v1/traces/../logs", "/v1/profiles", GRPC_PATHS["traces"]):
        refused_http(probe(relay.http, "http", path, b"", box), 404, 12)
    for path in ("/v1/traces?", "/v1/traces?x=1"):
        assert probe(relay.http, "http", path, b"", box)["http_status"] == 200, "a query is ignored (P27)"


def test_wrong_methods(box, relay):
    # G4, P4, E9
    for method in ("GET", "PUT", "DELETE"):
        answer = probe(relay.http, "http", "/v1/traces", None, box, method=method)
        refused_http(answer, 405, 13)
        assert answer["headers"]["allow"] == "POST"
    assert probe(relay.grpc, "grpc", GRPC_PATHS["traces"], None, box, method="GET")["http_status"] == 405


def test_wrong_content_types(box, relay):
    # G3, P3, P16, E4, E5
    for kind in ("application/jsonl", "text/plain", "application/protobuf", ""):
        answer = probe(relay.http, "http", "/v1/traces", b"", box, header=f"content-type:{kind}")
        refused_http(answer, 415, 3)
    for kind in ("APPLICATION/X-PROTOBUF", "application/x-protobuf; charset=utf-8"):
        assert probe(relay.http, "http", "/v1/traces", b"", box, header=f"content-type: {kind}")["http_status"] == 200
    for kind in ("application/grpc-web", "application/x-protobuf", "application/json"):
        assert probe(relay.grpc, "grpc", GRPC_PATHS["traces"], b"", box, flag=0, header=f"content-type: {kind}")["http_status"] == 415
    for kind in ("application/grpc+proto", "application/grpc;x=y"):
        answer = probe(relay.grpc, "grpc", GRPC_PATHS["traces"], b"", box, flag=0, header=f"content-type: {kind}")
        assert answer["trailers"]["grpc-status"] == "0"


def test_oversize_on_the_wire(box, relay):
    # G14, E6
    for size in (LIMIT, LIMIT + 1000, 3 * LIMIT):  # a little above, and far above
        body = field(1, b"x" * size)
        refused_grpc(probe(relay.grpc, "grpc", GRPC_PATHS["traces"], body, box, flag=0), 8)
        refused_http(probe(relay.http, "http", "/v1/traces", body, box), 413, 8)
        refused_http(probe(relay.http, "http", "/v1/traces", body, box, header="transfer-encoding: chunked"), 413, 8)


def test_an_early_refusal_can_be_read_by_who_writes_all_first(box, relay):
    """A client that looks at nothing before its last byte is out: closing under it would reset the connection, and the answer be lost (E6, P7)."""
    size = 80 * LIMIT
    with socket.create_connection(relay.http.rsplit(":", 1), 10) as peer:
        peer.settimeout(30)
        peer.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(80):
            peer.sendall(bytes(LIMIT))
        answer = peer.makefile("rb").read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413") and b"connection: close" in head.lower(), answer
    assert rpc_status(body)[0] == 8


def test_answers_are_small_and_never_compressed(box, relay):
    """Below 8 KiB of headers and 64 KiB of body however long the offending text (G25, G28, P20); plain, whatever may be accepted (G27, P22)."""
    may = {"grpc": ["grpc-accept-encoding: gzip,zstd"], "http": ["accept-encoding: gzip, zstd"]}
    # Every path is shown by its beginning; 9000 bytes of it would be 27000 when escaped.
    for path in ("/" + "%" * 9000, "/" + "\u00e9" * 4000, GRPC_PATHS["traces"]):
        answer = probe(relay.grpc, "grpc", path, b"", box, flag=0, header=may["grpc"])
        assert sum(len(n) + len(v) + 32 for part in ("headers", "trailers") for n, v in answer[part].items()) < 8192
        assert answer["body"] in (b"", b"\x00\x00\x00\x00\x00"), "an empty message, not compressed"
        assert "grpc-encoding" not in answer["headers"] and "content-encoding" not in answer["headers"]
    for path in ("/" + "%" * 9000, "/" + "\u00e9" * 4000, "/v1/traces"):
        for kind, empty in (("application/x-protobuf", b""), ("application/json", b"{}")):
            answer = probe(relay.http, "http", path, empty, box, header=[f"content-type: {kind}", *may["http"]])
            assert len(answer["body"]) < 4096 and "content-encoding" not in answer["headers"]
            assert answer["http_status"] == (200 if path == "/v1/traces" else 404)
            assert answer["headers"]["content-type"] == kind


@pytest.mark.parametrize("encoding,encode", [("gzip", gzip.compress), ("zstd", zstd)])
def test_oversize_after_decompression(box, relay, encoding, encode):
    bomb = encode(bytes(300 * LIMIT))
    assert len(bomb) < LIMIT
    answer = probe(relay.grpc, "grpc", GRPC_PATHS["traces"], bomb, box, flag=1, header=f"grpc-encoding: {encoding}")
    refused_grpc(answer, 8)
    answer = probe(relay.http, "http", "/v1/traces", bomb, box, header=f"content-encoding: {encoding}")
    refused_http(answer, 413, 8)


@pytest.mark.parametrize("encoding,encode", [("gzip", gzip.compress), ("zstd", zstd)])
def test_damaged_compression(box, relay, encoding, encode):
    # E3, Z10
    good = encode(box.body("traces", items=50))
    for body in (good[:-5], good[: len(good) // 2], good[:20] + b"\x55" * 30 + good[50:], good + b"trailing"):
        answer = probe(relay.grpc, "grpc", GRPC_PATHS["traces"], body, box, flag=1, header=f"grpc-encoding: {encoding}")
        refused_grpc(answer, 13)
        refused_http(probe(relay.http, "http", "/v1/traces", body, box, header=f"content-encoding: {encoding}"), 400, 13)
    assert relay.lane("traces")["accepted"] == 0


def test_several_members_and_frames_are_one_body(box, relay):
    one, two = box.body("traces", items=3), box.body("traces", items=4, first_id=3)
    for encoding, encode in (("gzip", gzip.compress), ("zstd", zstd)):
        body = encode(one) + encode(two)
        answer = probe(relay.grpc, "grpc", GRPC_PATHS["traces"], body, box, flag=1, header=f"grpc-encoding: {encoding}")
        assert answer["trailers"]["grpc-status"] == "0"
        assert probe(relay.http, "http", "/v1/traces", body, box, header=f"content-encoding: {encoding}")["http_status"] == 200
    relay.wait_drained()
    assert relay.lane("traces")["accepted"] == 4 * 7
    assert box.sinks[0].ids("traces") == set(range(7))


def snappy_block(data):
    """Literals only: a valid block that any encoder might have written (google/snappy, format_description.txt)."""
    length, n = b"", len(data)
    while n > 127:
        length, n = length + bytes([n & 127 | 128]), n >> 7
    pieces = [data[at:at + 65536] for at in range(0, len(data), 65536)]
    return length + bytes([n]) + b"".join(bytes([61 << 2]) + (len(p) - 1).to_bytes(2, "little") + p for p in pieces)


def test_the_rarer_encodings_are_taken(box, relay):
    """The same name means two things on the two transports (P6, G12)."""
    body = box.body("traces", items=5)
    for encoding, encoded in (("deflate", zlib.compress(body)), ("zlib", zlib.compress(body)), ("snappy", snappy_block(body))):
        assert probe(relay.http, "http", "/v1/traces", encoded, box, header=f"content-encoding: {encoding}")["http_status"] == 200
    answer = probe(relay.grpc, "grpc", GRPC_PATHS["traces"], zlib.compress(body), box, flag=1, header="grpc-encoding: deflate")
    assert answer["trailers"]["grpc-status"] == "0"
    refused_grpc(probe(relay.grpc, "grpc", GRPC_PATHS["traces"], snappy_block(body), box, flag=1, header="grpc-encoding: snappy"), 13)
    bomb = snappy_block(b"")[:-1] + b"\xff\xff\xff\x7f" + b"0123456789"
    refused_http(probe(relay.http, "http", "/v1/traces", bomb, box, header="content-encoding: snappy"), 413, 8)
    relay.wait_drained()
    assert relay.lane("traces")["accepted"] == 4 * 5


def test_unknown_encodings(box, relay):
    # G11, E7
    for encoding in ("br", "compress", "gzip, zstd"):
        answer = probe(relay.grpc, "grpc", GRPC_PATHS["traces"], b"x", box, flag=1, header=f"grpc-encoding: {encoding}")
        refused_grpc(answer, 12)
        assert answer["headers"]["grpc-accept-encoding"] == ACCEPTED["grpc"]
        answer = probe(relay.http, "http", "/v1/traces", b"x", box, header=f"content-encoding: {encoding}")
        refused_http(answer, 415, 12)
        assert answer["headers"]["accept-encoding"] == ACCEPTED["http"]
    assert probe(relay.http, "http", "/v1/traces", gzip.compress(b""), box, header="content-encoding: GZIP")["http_status"] == 200


def test_broken_grpc_framing(box, relay):
    # G16, E18
    path, whole = GRPC_PATHS["traces"], b"\x00\x00\x00\x00\x00"
    for body in (b"", whole[:3], b"\x00\x00\x00\x00\x09abc", whole + whole, b"\x02\x00\x00\x00\x00"):
        refused_grpc(probe(relay.grpc, "grpc", path, body, box), 13)
    refused_grpc(probe(relay.grpc, "grpc", path, b"abc", box, flag=1), 13)  # compressed, but no grpc-encoding (G10)
    answer = probe(relay.grpc, "grpc", path, b"", box, flag=0, header="grpc-encoding: gzip")
    assert answer["trailers"]["grpc-status"] == "0", "an uncompressed message under grpc-encoding is valid (G9)"
    refused_grpc(probe(relay.grpc, "grpc", path, b"", box, flag=0, header="grpc-timeout: soon"), 13)


def test_what_is_no_http_at_all(box, relay):
    for address in (relay.grpc, relay.http):
        for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200, b"GARBAGE\r\n\r\n", b"\x00" * 4096):
            with socket.create_connection(address.rsplit(":", 1), 10) as peer:
                peer.settimeout(20)
                peer.sendall(garbage)
                peer.shutdown(socket.SHUT_WR)
                try:
                    while peer.recv(65536):
                        pass
                except ConnectionResetError:
                    pass
    with socket.create_connection(relay.http.rsplit(":", 1), 10) as peer:
        peer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert peer.recv(100).startswith((b"HTTP/1.1 400", b"HTTP/1.1 505", b"HTTP/1.0 400")), "no HTTP/2 on the HTTP/1.1 port"
    box.gen(relay, items=10)
    box.gen(relay, "http", items=10, first_id=10)


def test_a_body_that_is_cut_off_is_not_stored(box, relay):
    body = box.body("traces", items=10)
    with socket.create_connection(relay.http.rsplit(":", 1), 10) as peer:
        head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: {len(body)}\r\n\r\n"
        peer.sendall(head.encode() + body[:-1])
    status, headers, _ = request(relay.http, "POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
    assert status == 200
    relay.wait_drained()
    assert relay.lane("traces")["accepted"] == 10


def test_chunked_and_expect_and_pipelining(box, relay):
    # P9
    body = box.body("logs", items=5)
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(body[i : i + 7]), body[i : i + 7]) for i in range(0, len(body), 7)) + b"0\r\n\r\n"
    head = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
    with socket.create_connection(relay.http.rsplit(":", 1), 10) as peer:
        peer.settimeout(20)
        answers = peer.makefile("rb")

        def answer():
            status, length = answers.readline(), 0
            while (line := answers.readline().strip()) != b"":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            return int(status.split()[1]), answers.read(length)

        peer.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces)
        assert answer() == (200, b"")
        peer.sendall(head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert answer() == (100, b"")
        peer.sendall(body)
        assert answer() == (200, b"")
        one = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        peer.sendall(one * 3)
        assert [answer() for _ in range(3)] == [(200, b"")] * 3
    relay.wait_drained()
    assert relay.lane("logs")["accepted"] == 25


def test_content_length_and_transfer_encoding_together_are_refused(box, relay):
    with socket.create_connection(relay.http.rsplit(":", 1), 10) as peer:
        peer.sendall(b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 3\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        peer.settimeout(20)
        assert peer.recv(4096).startswith(b"HTTP/1.1 400")


def test_every_refusal_is_counted(box, relay):
    for signal in SIGNALS:
        probe(relay.http, "http", f"/v1/{signal}", b"\xff", box)
    signals = relay.status()["receiver"]["signals"]
    assert [signals[s]["refused_requests"] for s in SIGNALS] == [1, 1, 1]
