# SPDX-License-Identifier: Apache-2.0
"""OTLP/JSON to protobuf by protobuf's own json_format on the messages of opentelemetry-proto, with OTLP's own rule: ids are hex.

usage: json_oracle.py traces|metrics|logs DOCUMENT.json REQUEST      exit 1, with both as text, when REQUEST is another message
(run by test_examples.py in build/venv)
"""

import base64
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUESTS = {"traces": ExportTraceServiceRequest, "metrics": ExportMetricsServiceRequest, "logs": ExportLogsServiceRequest}
IDS = {"traceId", "spanId", "parentSpanId"}


def ids_as_base64(tree):
    if isinstance(tree, list):
        return [ids_as_base64(child) for child in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        key: base64.b64encode(bytes.fromhex(value)).decode() if key in IDS else ids_as_base64(value) for key, value in tree.items()
    }


def main():
    signal, document, request = sys.argv[1:]
    with open(document, "rb") as file:
        expected = json_format.ParseDict(ids_as_base64(json.load(file)), REQUESTS[signal]())
    with open(request, "rb") as file:
        got = REQUESTS[signal].FromString(file.read())
    if got != expected:
        sys.exit(f"expected:\n{expected}\ngot:\n{got}")
    print(f"{got.ByteSize()} bytes")


main()
