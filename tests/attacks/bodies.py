# SPDX-License-Identifier: Apache-2.0
"""Attacks by what is in a request: small on the wire, large or deep or slow to read behind it."""

import gzip
import subprocess
import zlib

from http1 import close_all, post
from kit import MIB, check
from weirtest import field
from wire import Peer, export, hello, literal, play

JSON = b"application/json"


def ask(t, bodies, json=False, times=1, refused=True):
    """Each body (bytes, encoding) over HTTP, `times` over a connection of its own; all at once. Checks the answers."""
    peers = []
    for body, encoding in bodies:
        more = b"Content-Encoding: %s\r\n" % encoding if encoding else b""
        request = post(more=more, body=body)
        peers.append(Peer(t.http, (request.replace(b"application/x-protobuf", JSON) if json else request) * times))
    play(peers, 60, until=lambda: all(p.closed or p.received for p in peers))
    for peer, (body, encoding) in zip(peers, bodies):
        status = bytes(peer.got[9:12])
        wanted = (b"400", b"413", b"503") if refused else (b"200", b"400", b"413", b"503")
        check(status in wanted or (peer.closed and not peer.received), f"{encoding} {body[:60]}: answered {bytes(peer.got[:200])}")
    close_all(peers)
    return len(peers)


def zstd(data):
    return subprocess.run(["zstd", "-19", "-c", "-q"], input=data, capture_output=True, check=True).stdout


def snappy_block(size):
    """Zeros: one literal, and copies of 64 bytes."""
    out, size0, left = b"", size, size - 1
    while size0 >= 128:
        out, size0 = out + bytes([size0 & 127 | 128]), size0 >> 7
    return out + bytes([size0]) + b"\0\0" + b"\xfe\x01\x00" * (left // 64)


def lz4(size):
    """A frame of one-block zeros, without checksums: 255 bytes of match a byte."""
    block = b"\x1f\x00\x01\x00" + b"\xff" * 16400 + b"\x00" + b"\x50" + b"\0" * 5
    return b"\x04\x22\x4d\x18\x60\x70\x73" + (len(block).to_bytes(4, "little") + block) * (size // (16400 * 255)) + b"\0" * 4


def bombs(t, long):
    """Zeros are no protobuf, so all of it is refused: here before it is held, there after."""
    zeros = b"\0" * (256 * MIB if long else 80 * MIB)
    deflater = zlib.compressobj(9)
    z = deflater.compress(zeros) + deflater.flush()
    small = b"\0" * (4 * MIB)
    kinds = [
        (gzip.compress(zeros, 9), b"gzip"),
        (gzip.compress(small, 9) * 64, b"gzip"),  # members
        (gzip.compress(gzip.compress(zeros, 9), 9), b"gzip"),
        (z, b"deflate"),
        (zstd(zeros), b"zstd"),
        (zstd(small) * 1000, b"zstd"),
        (b"\x50\x2a\x4d\x18\0\0\0\0" * 500_000 + b"x", b"zstd"),  # skippable frames
        (b"\x28\xb5\x2f\xfd\x00\xf8" + b"\0" * 100, b"zstd"),  # a window of terabytes
        (snappy_block(64 * MIB), b"snappy"),
        (b"\xff\xff\xff\xff\x0f" + b"\0" * 100, b"snappy"),  # says 4 GiB
        (b"\xff\x06\x00\x00sNaPpY" + b"\xfe\x00\x00\x00" * 500_000 + b"x", b"x-snappy-framed"),
        (lz4(256 * MIB), b"lz4"),
    ]
    rounds = 5 if long else 1
    for _ in range(rounds):
        ask(t, kinds)
    ask(t, [(gzip.compress(b"") * 100_000, b"gzip")] * 4, refused=False)  # members of nothing: an empty request, taken
    # And over gRPC: four at once on one connection.
    body = gzip.compress(zeros, 9)
    data = hello() + b"".join(export(i, body, literal(b"grpc-encoding", b"gzip")).replace(b"\0" + len(body).to_bytes(4, "big"),
                                                                                           b"\1" + len(body).to_bytes(4, "big"), 1) for i in (1, 3, 5, 7))
    peer = Peer(t.grpc, data)
    play([peer], 30, until=lambda: peer.closed or peer.received > 60)
    peer.close()
    return f"{len(kinds)} bombs at once, {rounds} times (gzip, members, nested, deflate, zstd, frames, snappy, framed, lz4), 4 over gRPC"


def nesting(t, long):
    value, array = b"", b""
    for _ in range(6000):
        value = field(5, field(1, value))
    kv = b""
    for _ in range(6000):
        kv = field(6, field(1, field(2, kv)))
    proto = [(field(1, field(1, field(1, field(1, b"deep") + field(2, v)))), b"") for v in (value, kv)]
    proto.append((b"\x0b" * 1_000_000, b""))  # groups
    deep = 200_000
    array = b'{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":' + b'{"arrayValue":{"values":[' * deep + b"]}}" * deep + b"}]}}]}"
    plain = [array, b"[" * 1_000_000, b'{"a":' * 1_000_000, b'{"resourceSpans":' + b"[" * 1_000_000,
             b'{"x":' + b"[" * 500_000 + b"]" * 500_000 + b"}"]
    n = ask(t, proto * (5 if long else 1), refused=True) + ask(t, [(b, b"") for b in plain * (5 if long else 1)], json=True)
    return f"{n} requests nested 6,000 to 1,000,000 deep, protobuf and JSON"


def tiny(t, long):
    """Valid, and of many small parts: taken, and kept."""
    attribute = field(1, field(1, b"k") + field(2, field(1, b"v")))
    spans = field(2, field(2, field(1, b"t" * 16) + field(2, b"s" * 8) + field(5, b"n")))
    many = field(1, field(1, attribute * 100_000) + spans)
    empty = b"\x0a\x00" * 1_000_000
    scopes = field(1, b"\x12\x00" * 1_000_000)
    nothing = field(1, field(2, b"\x12\x00" * 500_000))
    text = b'{"resourceSpans":[{"resource":{"attributes":[' + b",".join([b'{"key":"k","value":{"stringValue":"v"}}'] * 100_000) + b"]}}]}"
    empties = b'{"resourceSpans":[' + b",".join([b"{}"] * 500_000) + b"]}"
    times = 5 if long else 1
    n = ask(t, [(b, b"") for b in (many, empty, scopes)] * times + [(nothing, b"")], refused=False)
    n += ask(t, [(b, b"") for b in (text, empties)] * times, json=True, refused=False)
    return f"{n} requests of 100,000 attributes, 1,000,000 empty resources, scopes or spans, protobuf and JSON"


def json_monsters(t, long):
    at = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":%s}]}]}]}'
    number = b'{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":{"%s":%s}}]},"scopeSpans":[{"spans":[{}]}]}]}'
    digits = b"9" * (8 * MIB if long else MIB)
    refused = [number % (b"doubleValue", b"-" + digits + b"e" + digits + b"x"), number % (b"intValue", digits),
               number % (b"doubleValue", b"1e99999999999999999999999999"), number % (b"intValue", b"1e400"),
               at % (b'"' + b"x" * MIB), at % (b'"\xff\xfe"'), at % b'"\0"', b" " * (4 * MIB),
               b'{"' + b"a" * MIB, b'{"resourceSpans":[' + b"1," * MIB, at % b'"\\u12', b"nul", b"\xef\xbb\xbf{}x"]
    taken = [at % (b'"' + b"\\ud800" * 100_000 + b'"'), number % (b"doubleValue", b"0." + digits), at % (b'"' + b"\\u0041" * MIB + b'"'), b'{"' + b"a" * MIB + b'":1}',
             b"{" + b",".join(b'"k%d":null' % i for i in range(200_000)) + b"}", b" " * MIB + b"{}" + b"\n" * MIB,
             number % (b"bytesValue", b'"' + b"A" * MIB + b'"'), number % (b"intValue", b'"' + b"0" * MIB + b'1"')]
    times = 5 if long else 1
    n = ask(t, [(b, b"") for b in refused] * times, json=True, refused=True)
    n += ask(t, [(b, b"") for b in taken] * times, json=True, refused=False)
    return f"{n} JSON bodies: numbers of {len(digits) >> 20} MiB, surrogates, 200,000 unknown keys, strings without an end"


ATTACKS = [bombs, nesting, tiny, json_monsters]
