# SPDX-License-Identifier: Apache-2.0
"""Attacks by means of HTTP/1.1, of TCP alone, and on the admin port."""

import re
import resource
import socket
import struct
import time

from kit import MIB, check, wait_for
from wire import Peer, play


def post(length=None, more=b"", path=b"/v1/traces", body=b""):
    size = b"Content-Length: %d\r\n" % (len(body) if length is None else length)
    return b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-protobuf\r\n" + size + more + b"\r\n" + body


def drip(peers, piece, turns, pause):
    for _ in range(turns):
        for peer in peers:
            peer.send_more(piece)
        play(peers, 5)
        time.sleep(pause)


def close_all(peers):
    for peer in peers:
        peer.close()


def slow_heads(t, long):
    peers = [Peer(t.http, b"POST /v1/traces HTTP/1.1\r\nHost: a\r\n") for _ in range(800 if long else 200)]
    drip(peers, b"X-a: b\r\n", 65 if long else 4, 0.5 if long else 0.1)
    if long:
        check(all(p.closed for p in peers), "heads that take more than 30 s end")
    close_all(peers)
    return f"{len(peers)} connections with heads, a line at a time"


def slow_bodies(t, long):
    peers = [Peer(t.http, post(5000)) for _ in range(800 if long else 200)]
    drip(peers, b"\x0a", 65 if long else 4, 0.5 if long else 0.1)
    if long:
        check(all(p.closed for p in peers), "bodies that take more than 30 s end")
    close_all(peers)
    return f"{len(peers)} connections with bodies, a byte at a time"


def big_and_slow(t, long):
    """200 connections, 64 MiB each, as much as can be held."""
    peers = [Peer(t.http, post(64 * MIB)) for _ in range(200)]
    drip(peers, b"\x0a" * (64 << 10), 40 if long else 16, 0.25 if long else 0.05)
    answered = sum(p.received > 0 for p in peers)
    sent = sum(p.at for p in peers)
    close_all(peers)
    return f"200 connections with bodies of 64 MiB, slowly: {answered} refused meanwhile ({sent // MIB} MiB in flight at the end)"


def heads_alone(t, long):
    """Each declares 1 MiB and sends nothing; whoever is turned away comes again."""
    peers, turned_away = [], 0
    for _ in range(20 if long else 4):
        while len(peers) < 900:
            peers.append(Peer(t.http, post(1 << 20)))
        play(peers, 10)
        time.sleep(0.3)
        play(peers, 0.1, until=lambda: False)
        gone = [p for p in peers if p.closed or p.received]
        turned_away += len(gone)
        close_all(gone)
        peers = [p for p in peers if p not in gone]
    close_all(peers)
    return f"900 connections that declare 1 MiB and send nothing, {turned_away} turned away and back again"


def idle(t, long):
    """As many as there may be, and more: nobody new could come in."""
    peers, failed = [], 0
    for _ in range(3000 if long else 1200):
        try:
            peers.append(Peer(t.http))
        except OSError:
            failed += 1
    # Honest newcomers, while all of those stay.
    t.gen("http", signal="logs", items=20, first_id=t.first_id, retry=True, deadline_ms=20_000)
    t.gen("grpc", signal="traces", items=20, first_id=t.first_id, retry=True, deadline_ms=20_000)
    t.first_id += 1_000_000
    close_all(peers)
    return f"{len(peers)} idle connections, where 1,024 are the most"


def ten_thousand(t, long):
    """Needs receiver.max_connections and descriptors for them: run.py gives both."""
    count = 10_000 if long else 3000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 1000), hard))
    count = min(count, hard - 500 if hard != resource.RLIM_INFINITY else count)
    peers = [Peer(t.http if i % 2 else t.grpc, b"" if i % 2 else b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0") for i in range(count)]
    play(peers, 20)
    wait_for(lambda: t.connections() >= count, 20, lambda: f"{t.connections():.0f} connections are open, of {count}")
    close_all(peers)
    return f"{count} idle connections (receiver.max_connections: 12000)"


def churn(t, long):
    count = 10_000 if long else 1500
    for i in range(count):
        sock = socket.create_connection((t.http if i % 2 else t.grpc).rsplit(":", 1), 10)
        if i % 3 == 0:
            sock.sendall(b"POST /v1/tr" if i % 2 else b"PRI * HT")
        if i % 5 == 0:  # a reset instead of an end
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    return f"{count} connections, opened and closed, some by a reset"


# Each must be refused and end its connection, so that what follows is never taken for a request.
SMUGGLED = b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
SHAPES = {
    "length and chunks": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 5\r\n\r\n",
    "a signed length": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n",
    "a length in hex": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nContent-Length: 0x0\r\n\r\n",
    "a negative length": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "a length past 2^64": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
    "two codings": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "another coding": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a list of codings": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /v1/logs HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nContent-Length : 0\r\n\r\n",
    "a folded line": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nX: a\r\n Content-Length: 0\r\n\r\n",
    "no host": b"POST /v1/logs HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "two hosts": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n",
    "a NUL in a name": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nContent\0Length: 0\r\n\r\n",
    "a NUL in a value": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    "a bare CR": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nX: a\rContent-Length: 0\r\n\r\n",
    "an unknown version": b"POST /v1/logs HTTP/3.9\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "an unknown expectation": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nExpect: a\r\nContent-Length: 0\r\n\r\n",
    "chunk size of 17 digits": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000000\r\n\r\n",
    "a signed chunk size": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-0\r\n\r\n",
    "chunk lines of LF alone": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n",
    "a chunk longer than its size": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    "101 headers": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 101 + b"\r\n",
    "a head of 17 KiB": b"POST /v1/logs HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 17408 + b"\r\n\r\n",
    "a request line of 1 MiB": b"POST /" + b"y" * MIB + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "no end of the request line": b"G" * 70000,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2,
}


def smuggling(t, long):
    for name, shape in SHAPES.items():
        peer = Peer(t.http, shape + SMUGGLED)
        # A close while bytes are on their way may be a reset: then there is no answer to look at.
        check(play([peer], 10, until=lambda: peer.closed), f"{name}: the connection stays open: {bytes(peer.got[:200])}")
        answers = len(re.findall(rb"HTTP/1\.1 \d{3} ", peer.got))
        check(answers <= 1 and b"HTTP/1.1 200" not in peer.got, f"{name}: {bytes(peer.got[:300])}")
        peer.close()
    return f"{len(SHAPES)} shapes of requests that two readers could take for different ones"


def pipelining(t, long):
    count = 40_000 if long else 5000
    peers = [Peer(t.http, post() * count + post(more=b"Connection: close\r\n"), reads=i % 2 == 0) for i in range(8)]
    check(play(peers, 60, until=lambda: all(p.closed for p in peers[::2])), "all are answered to those who read")
    answers = sum(p.received for p in peers)
    close_all(peers)
    return f"8 connections with {count} requests each in one go, half of them never reading; {answers // 1000} kB of answers read"


def junk(t, long):
    """Deterministic noise, the same on every run, at every port."""
    count, state, noise = 600 if long else 60, 1, bytearray()
    while len(noise) < 1 << 16:
        state = (state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        noise += state.to_bytes(8, "big")[:3]
    starts = (b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"POST /v1/traces HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"\x16\x03\x01\x40\x00\x01")
    for i in range(0, count, 20):
        peers = [Peer(a, s + bytes(noise[j * 97 % 50000 :][: 1 + j * 211 % 9000])) for j in range(i, i + 20) for a in (t.grpc, t.http) for s in starts]
        play(peers, 5)
        close_all(peers)
    return f"{count * 8} connections of noise, bare and behind an HTTP/2 preface, a chunked head and a TLS record's"


# --- the admin port ---------------------------------------------------------------------------------------------------


def admin_slow(t, long):
    """More connections than it takes, each with a request that never ends: probes must be answered meanwhile."""
    kinds = [b"POST /v1/replay HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n{", b"GET /met", b""]
    peers = [Peer(t.admin, kinds[i % 3]) for i in range(200 if long else 100)]
    play(peers, 5)
    worst = 0
    for _ in range(20 if long else 4):
        began = time.monotonic()
        check(t.weir.get("/readyz", timeout=60)[0] == 200, "ready")
        worst = max(worst, time.monotonic() - began)
        peers += [Peer(t.admin, kinds[0]) for _ in range(20)]
        play(peers, 1)
    close_all(peers)
    check(worst < 5, f"/readyz took {worst:.1f} s")
    return f"{len(peers)} connections with requests that do not end; /readyz took {worst * 1000:.0f} ms at most"


def admin_big(t, long):
    requests = [b"POST /v1/replay HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * MIB,
                b"POST /v1/replay HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"fff0\r\n" + b"x" * 0xFFF0 + b"\r\n") * 20,
                b"GET /" + b"a" * MIB + b" HTTP/1.1\r\nHost: a\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 50000 + b"\r\n",
                b"POST /v1/replay HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + b"[" * 60000,
                b"POST /v1/replay HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + b"9" * 60000,
                b"POST /v1/replay HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + b'"' + b"\\u0000" * 9999 + b'"' * 5]
    requests += [b"%s / HTTP/1.1\r\nHost: a\r\n\r\n" % m for m in (b"BREW", b"CONNECT", b"TRACE", b"PRI", b"OPTIONS", b"A" * 5000, b"\xff\0")]
    for _ in range(10 if long else 2):
        peers = [Peer(t.admin, r) for r in requests]
        play(peers, 5)
        play(peers, 0.2, until=lambda: False)
        close_all(peers)
    return f"{len(requests)} kinds of large and odd requests, {10 if long else 2} times"


def admin_many(t, long):
    """Status and metrics asked for in long pipelines, half of them never read."""
    count = 3000 if long else 400
    peers = [Peer(t.admin, (b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" + b"GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n") * count, reads=i % 2 == 0)
             for i in range(32)]
    play(peers, 15 if long else 1)
    began = time.monotonic()
    check(t.weir.get("/healthz", timeout=60)[0] == 200, "healthy")
    took = time.monotonic() - began
    check(took < 5, f"/healthz took {took:.1f} s")
    got = sum(p.received for p in peers)
    close_all(peers)
    return f"32 connections with {2 * count} questions each, half of them never read; {got // 1000} kB read; /healthz took {took * 1000:.0f} ms"


ATTACKS = [slow_heads, slow_bodies, big_and_slow, heads_alone, idle, churn, smuggling, pipelining, junk, admin_slow, admin_big, admin_many]
OWN_RELAY = [ten_thousand]
