# SPDX-License-Identifier: Apache-2.0
"""Plain sockets, and bytes of HTTP/2 by hand: what no honest library would send."""

import selectors
import socket
import ssl
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
TRACES = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def hpack_int(value, bits, first=0):
    top = (1 << bits) - 1
    if value < top:
        return bytes([first | value])
    out, value = [first | top], value - top
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + [value])


def hpack_string(text):
    return hpack_int(len(text), 7) + text


def literal(name, value, index=False):
    """A header by name; with index it stays in the peer's table."""
    return (b"\x40" if index else b"\x00") + hpack_string(name) + hpack_string(value)


def head(path=TRACES, more=b""):
    """The header block of an export."""
    return (b"\x83\x86\x04" + hpack_string(path) + b"\x01" + hpack_string(b"a")
            + literal(b"content-type", b"application/grpc") + literal(b"te", b"trailers") + more)


def message(body, compressed=0, length=None):
    return bytes([compressed]) + (len(body) if length is None else length).to_bytes(4, "big") + body


def export(stream, body, more=b""):
    """A whole request, in frames of at most 16 KiB."""
    data, out = message(body), [frame(HEADERS, END_HEADERS, stream, head(more=more))]
    for at in range(0, len(data), 16384):
        out.append(frame(DATA, END_STREAM if at + 16384 >= len(data) else 0, stream, data[at : at + 16384]))
    return b"".join(out)


def hello(settings=b""):
    return PREFACE + frame(SETTINGS, 0, 0, settings)


def setting(name, value):
    return name.to_bytes(2, "big") + value.to_bytes(4, "big")


LAST = frame(PING, 0, 0, b"the last")
LAST_ACK = b"the last"


class Peer:
    """A connection that takes what it is told to send as fast as the other side reads it."""

    KEEP = 1 << 16  # of what comes
    every = []  # that an attack leaves open when it fails
    tls = {}  # addresses to speak TLS with, and how

    def __init__(self, address, out=b"", reads=True, small=False, bare=False):
        host, port = address.rsplit(":", 1)
        self.sock = socket.socket()
        self.every.append(self)
        if small:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(10)
        self.sock.connect((host, int(port)))
        if address in self.tls and not bare:
            self.sock = self.tls[address].wrap_socket(self.sock)
        self.sock.setblocking(False)
        self.out, self.at, self.reads = memoryview(out), 0, reads
        self.got, self.last, self.received, self.closed = bytearray(), b"", 0, False

    def send_more(self, data):
        self.out, self.at = memoryview(bytes(self.out[self.at :]) + data), 0

    def done(self):
        return self.closed or self.at == len(self.out)

    def take(self, data):
        self.received += len(data)
        self.got += data[: self.KEEP - len(self.got)]
        self.last = (self.last + data)[-64:]
        self.closed = self.closed or not data

    def turn(self, can_read, can_write):
        try:
            if can_write and not self.done():
                self.at += self.sock.send(self.out[self.at : self.at + (1 << 18)])
            if can_read:
                self.take(self.sock.recv(1 << 16))
                while isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0:  # no selector tells of it
                    self.take(self.sock.recv(1 << 16))
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self.closed = True

    @classmethod
    def close_every(cls):
        while cls.every:
            cls.every.pop().close()

    def close(self):
        self.closed = True
        self.sock.close()


def play(peers, seconds, until=None):
    """Sends and reads on all of them until all is sent (or until() holds), at most so long. Returns whether that came true."""
    until = until or (lambda: all(p.done() for p in peers))
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        mask = {}
        for peer in peers:
            if peer.sock.fileno() >= 0:
                mask[peer] = 0
        while not until():
            if time.monotonic() > deadline:
                return False
            for peer, old in list(mask.items()):
                new = 0 if peer.closed else (selectors.EVENT_READ if peer.reads else 0) | (0 if peer.done() else selectors.EVENT_WRITE)
                if new != old:
                    (selector.unregister if new == 0 else selector.register if old == 0 else selector.modify)(
                        *((peer.sock,) if new == 0 else (peer.sock, new, peer)))
                    mask[peer] = new
            for key, events in selector.select(0.02):
                key.data.turn(events & selectors.EVENT_READ, events & selectors.EVENT_WRITE)
    return True


def flood(address, chunk, total, reads=True, start=None, seconds=30):
    """Sends `start` and then `chunk` over and over, on a new connection whenever one is closed. Returns (chunks sent, connections)."""
    start = hello() if start is None else start
    sent, connections, deadline = 0, 0, time.monotonic() + seconds
    while sent < total and time.monotonic() < deadline:
        many = min(total - sent, 20000)
        try:
            peer = Peer(address, start + chunk * many + (LAST if reads else b""), reads)
        except OSError:
            time.sleep(0.005)  # a full backlog
            continue
        connections += 1
        # What was sent is not yet taken: a close would throw it away.
        play([peer], 10, until=lambda: peer.closed or (peer.done() and (not reads or LAST_ACK in peer.last)))
        if not reads:
            play([peer], 0.3, until=lambda: peer.closed)
        sent += max(1, min(many, (peer.at - len(start)) // len(chunk)))
        peer.close()
    return sent, connections
