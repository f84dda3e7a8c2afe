# SPDX-License-Identifier: Apache-2.0
"""Attacks on the TLS of a listener: handshakes that do not end, too many of them, and records that no library would send.
Those by HTTP/1.1 and HTTP/2 go over TLS as well when the relay's listeners speak it (Peer.tls)."""

import socket
import subprocess
import time

from http1 import close_all, drip, post
from kit import check
from wire import Peer, hello, play

# A ClientHello for TLS 1.2 and 1.3, as far as its random bytes; the record says that 508 more follow.
HALF_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(32))


def half_handshakes(t, long):
    """Each has begun a handshake and is silent; honest newcomers must come in all the same."""
    peers = [Peer(t.http if i % 2 else t.grpc, HALF_HELLO, bare=True) for i in range(2000 if long else 200)]
    play(peers, 10 if long else 1)
    for transport, signal in (("http", "logs"), ("grpc", "traces")):
        t.gen(transport, signal=signal, items=20, first_id=t.first_id, retry=True, deadline_ms=20_000)
    t.first_id += 1_000_000
    close_all(peers)
    return f"{len(peers)} connections in the middle of a handshake, where 1,024 are the most"


def slow_hellos(t, long):
    peers = [Peer(t.http if i % 2 else t.grpc, HALF_HELLO[:12], bare=True) for i in range(400 if long else 100)]
    drip(peers, b"\x00", 65 if long else 4, 0.5 if long else 0.1)
    if long:
        check(all(p.closed for p in peers), "handshakes that take more than 30 s end")
    close_all(peers)
    return f"{len(peers)} connections with a handshake, a byte at a time"


def handshakes(t, long):
    count = 4000 if long else 300
    for i in range(count):
        Peer(t.http if i % 2 else t.grpc).close()
    Peer.every.clear()
    return f"{count} whole handshakes and nothing behind them"


def handshake_floods(t, long):
    """Records that are allowed before a handshake and bring it no further."""
    count = 20_000 if long else 4000
    kinds = {"empty": b"\x16\x03\x01\x00\x00", "alert": b"\x15\x03\x01\x00\x02\x01\x5a", "change of cipher": b"\x14\x03\x03\x00\x01\x01",
             "half hello of one byte": b"\x16\x03\x01\x00\x01\x01"}
    peers = [Peer(a, record * count, bare=True) for record in kinds.values() for a in (t.grpc, t.http) for _ in range(5)]
    play(peers, 20 if long else 1)
    if long:  # 10 s
        check(play(peers, 20, until=lambda: all(p.closed for p in peers)), "a handshake of nothing ends its connection")
    close_all(peers)
    return f"{len(peers)} connections with {count} records each that bring the handshake no further ({', '.join(kinds)})"


def tiny_records(t, long):
    """A record for each byte."""
    count, request = 20_000 if long else 3000, post(body=b"\x0a\x00")
    peers = [Peer(t.http), Peer(t.grpc, hello())]
    for peer, data in zip(peers, (request * (count // len(request)), b"\0\0\x08\x06\0\0\0\0\0weirweir" * (count // 17))):
        peer.sock.settimeout(10)
        try:
            for byte in data:
                peer.sock.send(bytes([byte]))
        except OSError:
            peer.closed = True
        peer.sock.setblocking(False)
    play(peers, 2, until=lambda: False)
    close_all(peers)
    return f"2 connections with {count} records of one byte"


def broken_records(t, long):
    """A good handshake, and then bytes that are no record of it."""
    shapes = [b"\x17\x03\x03\x00\x10" + b"x" * 16, b"\x17\x03\x03\xff\xff" + b"x" * 65535, b"\x17\x03\x03\x00\x00", b"\x15\x03\x03\x00\x02\x02\x28", b"\xff" * 100,
              b"\x16\x03\x03\x00\x04\0\0\0\0", HALF_HELLO, b"GET / HTTP/1.1\r\n\r\n"]
    for _ in range(20 if long else 3):
        peers = [Peer(a) for _ in shapes for a in (t.grpc, t.http)]
        for i, peer in enumerate(peers):
            bare = socket.socket(fileno=peer.sock.detach())
            peer.sock, peer.out = bare, memoryview(shapes[i // 2])
        check(play(peers, 20, until=lambda: all(p.closed for p in peers)), "a broken record ends its connection")
        close_all(peers)
    return f"{(20 if long else 3) * 2 * len(shapes)} connections whose records break after the handshake"


def renegotiation(t, long):
    """Asked for by the client, under TLS 1.2: a handshake costs the server more than whoever asks."""
    host, port = t.http.rsplit(":", 1)
    for _ in range(5 if long else 1):
        client = subprocess.Popen(["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            client.stdin.write(b"R\n")
            client.stdin.flush()
            out, deadline = b"", time.monotonic() + 20
            while b"no renegotiation" not in out and client.poll() is None and time.monotonic() < deadline:
                out += client.stdout.read1(1 << 16)
        finally:
            client.kill()
            client.wait()
            client.stdin.close()
            client.stdout.close()
        check(b"no renegotiation" in out, f"a renegotiation is refused: {out[-300:]}")
    return "a client that asks for another handshake, under TLS 1.2"


ATTACKS = [half_handshakes, slow_hellos, handshakes, handshake_floods, tiny_records, broken_records, renegotiation]
