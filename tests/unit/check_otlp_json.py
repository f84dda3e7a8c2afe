#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the JSON writer with protobuf's own (google.protobuf.json_format on the messages of opentelemetry-proto), as JSON values and
with OTLP's own rule: ids are hex. The requests are random ones, and the same ones after everything that protobuf allows on the wire:
fields in any order, scalars and oneof members that come several times, messages in parts, packed fields unpacked and split, unknown
fields. Exit 1 when one differs; its seed is printed.

usage: check_otlp_json.py DUMP_PROGRAM [COUNT [SEED]]        (run by `make json-check`, in a venv with opentelemetry-proto)
"""
import base64
import json
import math
import random
import struct
import subprocess
import sys

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor as F
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import ExportProfilesServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUESTS = [ExportTraceServiceRequest, ExportMetricsServiceRequest, ExportLogsServiceRequest, ExportProfilesServiceRequest]
IDS = {"trace_id", "span_id", "parent_span_id", "profile_id"}
FIXED32, FIXED64 = {F.TYPE_FIXED32, F.TYPE_SFIXED32, F.TYPE_FLOAT}, {F.TYPE_FIXED64, F.TYPE_SFIXED64, F.TYPE_DOUBLE}
LEN = {F.TYPE_STRING, F.TYPE_BYTES, F.TYPE_MESSAGE}


# --- the wire -----------------------------------------------------------------------------------------------------------
def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return value & (1 << 64) - 1, at


def read_fields(data):
    at, found = 0, []
    while at < len(data):
        tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = read_varint(data, at)
        elif kind == 2:
            size, at = read_varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            size = 8 if kind == 1 else 4
            value, at = data[at : at + size], at + size
        found.append((tag >> 3, kind, value))
    return found


def write_fields(found):
    out = bytearray()
    for number, kind, value in found:
        out += varint(number << 3 | kind)
        out += varint(value) if kind == 0 else varint(len(value)) + value if kind == 2 else value
    return bytes(out)


def wire_type(field):
    return 2 if field.type in LEN else 1 if field.type in FIXED64 else 5 if field.type in FIXED32 else 0


# --- mutation -------------------------------------------------------------------------------------------------------------
def random_scalar(rnd, field):
    kind = wire_type(field)
    if kind == 0:
        return rnd.choice([0, 1, 2, rnd.getrandbits(31), rnd.getrandbits(32), rnd.getrandbits(64), (1 << 64) - 1])
    if kind in (1, 5):
        size = 8 if kind == 1 else 4
        if field.type == F.TYPE_DOUBLE and rnd.random() < 0.7:
            value = rnd.choice([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 0.1, 1e15, 1e16, -123456789.0,
                                rnd.uniform(-1e6, 1e6), 2.0**53 + 2, 1e22, 1e23])
            return struct.pack("<d", value)
        return rnd.choice([bytes(size), rnd.randbytes(size)])
    if field.type == F.TYPE_STRING:
        return "".join(rnd.choice(['"', "\\", "\n", "\t", "\0", "\x1f", "\x7f", "é", "\u2028", "😀", "a", "/", "<"]) for _ in range(rnd.randrange(6))).encode()
    return rnd.randbytes(16 if field.name == "trace_id" else 8 if field.name in IDS else rnd.randrange(7))


def unpack(rnd, field, value):
    """A packed field's elements as any mixture of packed parts and single ones."""
    size, elements, at = 8 if field.type in FIXED64 else 0, [], 0
    while at < len(value):
        if size:
            element, at = value[at : at + size], at + size
        else:
            element, at = read_varint(value, at)
        elements.append(element)
    while elements:
        take = rnd.randrange(1, len(elements) + 1)
        part, elements = elements[:take], elements[take:]
        if rnd.random() < 0.5:
            yield field.number, 2, b"".join(e if size else varint(e) for e in part)
        else:
            yield from ((field.number, wire_type(field), e) for e in part)
    if rnd.random() < 0.3:
        yield field.number, 2, b""


def mutate(rnd, message, data, rate):
    out = []
    for number, kind, value in read_fields(data):
        field = message.fields_by_number[number]
        if field.type == F.TYPE_MESSAGE:
            value = mutate(rnd, field.message_type, value, rate)
            if not field.is_repeated and rnd.random() < rate:
                parts = read_fields(value)
                cut = rnd.randrange(len(parts) + 1)
                out += [(number, kind, write_fields(parts[:cut])), (number, kind, write_fields(parts[cut:]))]
                continue
        elif field.is_repeated and kind == 2 and field.type not in LEN and rnd.random() < 3 * rate:
            out += unpack(rnd, field, value)
            continue
        out.append((number, kind, value))
    while rnd.random() < rate:  # one more of anything, anywhere
        field = rnd.choice(message.fields)
        value = b"" if field.type == F.TYPE_MESSAGE else random_scalar(rnd, field)
        out.insert(rnd.randrange(len(out) + 1), (field.number, wire_type(field), value))
    if rnd.random() < rate:
        unknown = rnd.choice([17, 99, 1000, 536870911])
        out.insert(rnd.randrange(len(out) + 1), (unknown, *rnd.choice([(0, 5), (1, bytes(8)), (2, b"xyz"), (5, bytes(4))])))
    if rnd.random() < rate:
        rnd.shuffle(out)
    return write_fields(out)


# --- the oracle -------------------------------------------------------------------------------------------------------------
def with_ids(message, tree):
    """json_format's tree, with ids in hex."""
    for field in message.fields:
        if field.json_name not in tree:
            continue
        value = tree[field.json_name]
        if field.name in IDS:
            tree[field.json_name] = base64.b64decode(value).hex()
        elif field.type == F.TYPE_MESSAGE:
            for child in value if field.is_repeated else [value]:
                with_ids(field.message_type, child)
    return tree


def expected(request, data):
    message = request.FromString(data)
    return with_ids(message.DESCRIPTOR, json_format.MessageToDict(message, use_integers_for_enums=True))


def no_duplicates(pairs):
    tree = dict(pairs)
    assert len(tree) == len(pairs), f"a name comes twice: {[name for name, _ in pairs]}"
    return tree


def no_constants(name):
    raise ValueError(f"{name} is no JSON")


def difference(a, b, path=""):
    """Where the two trees differ; None: nowhere. Numbers are equal when their values are, whatever their spelling."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            if key not in a or key not in b:
                return f"{path}.{key}: only {'expected' if key in a else 'ours'}"
            if found := difference(a[key], b[key], f"{path}.{key}"):
                return found
        return None
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return f"{path}: {len(a)} elements expected, {len(b)} ours"
        return next((d for i, (x, y) in enumerate(zip(a, b)) if (d := difference(x, y, f"{path}[{i}]"))), None)
    numbers = [isinstance(x, (int, float)) and not isinstance(x, bool) for x in (a, b)]
    if all(numbers):
        return None if a == b and math.copysign(1, a) == math.copysign(1, b) else f"{path}: {a!r} expected, {b!r} ours"
    return None if type(a) is type(b) and a == b else f"{path}: {a!r} expected, {b!r} ours"


def records(data):
    at, found = 0, []
    while at < len(data):
        kind, size = struct.unpack_from("<BI", data, at)
        found.append((kind, data[at + 5 : at + 5 + size]))
        at += 5 + size
    return found


def compare(number, signal, body, code, answer):
    try:
        oracle = expected(REQUESTS[signal], body)
    except DecodeError as error:
        return f"our own request is none: {error}"
    if code != 0:
        return f"refused with {code}: {answer.decode()}"
    if b"\n" in answer or b"\r" in answer:
        return "more than one line"
    try:
        ours = json.loads(answer.decode(), object_pairs_hook=no_duplicates, parse_constant=no_constants)
    except (ValueError, AssertionError) as error:
        return f"no JSON: {error}"
    return difference(oracle, ours)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    program, count, seed = sys.argv[1], int((sys.argv[2:] or [500])[0]), int((sys.argv[3:] or [1])[0])
    plain = records(subprocess.run([program, str(count), str(seed)], stdout=subprocess.PIPE, check=True).stdout)
    rnd = random.Random(seed)
    requests = plain + [(s, mutate(rnd, REQUESTS[s].DESCRIPTOR, body, rnd.choice([0.01, 0.05, 0.2]))) for s, body in plain]
    given = b"".join(struct.pack("<BI", s, len(body)) + body for s, body in requests)
    answers = records(subprocess.run([program], input=given, stdout=subprocess.PIPE, check=True).stdout)
    wrong = 0
    for number, ((signal, body), (code, answer)) in enumerate(zip(requests, answers, strict=True)):
        if found := compare(number, signal, body, code, answer):
            wrong += 1
            if wrong <= 10:
                print(f"json-check: seed {seed}, request {number} ({REQUESTS[signal].__name__}, {len(body)} bytes): {found}")
    print(f"json-check: {len(requests)} requests, {len(given) >> 10} KiB on the wire, {sum(len(a) for _, a in answers) >> 10} KiB of JSON compared,"
          f" {wrong} differ")
    sys.exit(wrong > 0 or len(requests) < 8 * count)


if __name__ == "__main__":
    main()
