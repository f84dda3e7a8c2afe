#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares proto/'s schema with OTLP's official one, as the opentelemetry-proto package carries it (serialized
descriptors inside its generated modules): every message, field number, name, type, label, oneof, enum value and
method, both ways. Exit 1 when anything differs.

usage: check_schema.py PROTO_DIR        (run by `make schema-check`, in a venv with opentelemetry-proto)
"""
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2

PACKAGE = "opentelemetry/proto"
FIELD = descriptor_pb2.FieldDescriptorProto
TYPES = {number: name[5:].lower() for name, number in FIELD.Type.items()}


def ours(root):
    """Our files, as protoc (not protoc-c) reads them."""
    files = sorted(str(p.relative_to(root)) for p in Path(root, PACKAGE).rglob("*.proto"))
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["protoc", f"-I{root}", f"--descriptor_set_out={out.name}", *files], check=True)
        return {f.name: f for f in descriptor_pb2.FileDescriptorSet.FromString(Path(out.name).read_bytes()).file}


def official():
    """The package's files: each *_pb2 module holds its own serialized descriptor."""
    import opentelemetry.proto

    found = {}
    for base in map(Path, opentelemetry.proto.__path__):
        for path in sorted(base.rglob("*_pb2.py")):
            module = ".".join(["opentelemetry", "proto", *path.relative_to(base).with_suffix("").parts])
            pb = importlib.import_module(module).DESCRIPTOR.serialized_pb
            file = descriptor_pb2.FileDescriptorProto.FromString(pb)
            found[file.name] = file
    return found


def oneof_of(message, field):
    """The oneof's name; none for proto3 `optional`, which the official schema spells as such (a synthetic oneof `_x` of
    one member) and ours as just that oneof, because protoc-c 1.4 knows no `optional`."""
    if not field.HasField("oneof_index"):
        return ""
    name = message.oneof_decl[field.oneof_index].name
    return "optional" if field.proto3_optional or name == "_" + field.name else name


def facts_of_message(scope, message, facts):
    name = f"{scope}.{message.name}"
    facts[f"message {name}"] = "present"
    for field in message.field:
        label = "repeated " if field.label == FIELD.LABEL_REPEATED else ""
        oneof = oneof_of(message, field)
        facts[f"field {name} = {field.number}"] = (
            f"{label}{TYPES[field.type]} {field.type_name} {field.name}" + (f" (oneof {oneof})" if oneof else ""))
    for nested in message.nested_type:
        facts_of_message(name, nested, facts)
    facts_of_enums(name, message.enum_type, facts)


def facts_of_enums(scope, enums, facts):
    for enum in enums:
        for value in enum.value:
            facts[f"enum {scope}.{enum.name} = {value.number}"] = value.name


def facts_of(file):
    facts = {"package": file.package, "syntax": file.syntax}
    for message in file.message_type:
        facts_of_message(file.package, message, facts)
    facts_of_enums(file.package, file.enum_type, facts)
    for service in file.service:
        for method in service.method:
            facts[f"method {file.package}.{service.name}/{method.name}"] = (
                f"{method.input_type} -> {method.output_type}"
                f" streaming {method.client_streaming}/{method.server_streaming}")
    return facts


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    mine, theirs = ours(sys.argv[1]), official()
    wrong, compared = [], 0
    for name in sorted(mine.keys() | theirs.keys()):
        if name not in mine or name not in theirs:
            wrong.append(f"{name}: only {'the official schema has' if name in theirs else 'ours has'} this file")
            continue
        a, b = facts_of(mine[name]), facts_of(theirs[name])
        for key in sorted(a.keys() | b.keys()):
            compared += 1
            if a.get(key) != b.get(key):
                wrong.append(f"{name}: {key}: ours {a.get(key, 'missing')}, official {b.get(key, 'missing')}")
    for line in wrong:
        print(f"schema-check: {line}")
    print(f"schema-check: {compared} facts of {len(theirs)} files compared, {len(wrong)} differ")
    # A package without its descriptors, or a schema that is not found, must not look like agreement.
    sys.exit(bool(wrong) or len(theirs) < 10 or compared < 300)


if __name__ == "__main__":
    main()
