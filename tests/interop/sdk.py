# SPDX-License-Identifier: Apache-2.0
"""Exports the same spans, metrics and log records to each target with the Python SDK's unmodified OTLP exporters.

usage: sdk.py '{"targets": [{"grpc": ADDRESS, "http": ADDRESS}, …], "ways": ["grpc-gzip", "http-deflate", …]}'
The SDK's objects are made once a way, so ids and times are the same at each target. Prints {"spans", "dataPoints", "logRecords"}.
"""

import json
import sys

import grpc
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcTraces
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpTraces
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

S = 1732085549_000000000
ATTRIBUTES = {
    "string": "grüße, 世界 🌊", "empty": "", "int": 42, "negative": -7, "large": 2**63 - 1, "small": -(2**63), "double": 0.1, "tiny": 5e-324,
    "yes": True, "no": False, "strings": ["a", "", "ß"], "ints": [1, -2, 3], "doubles": [0.5, 1e300], "bools": [True, False], "none": [],
}
OTHER = SpanContext(0xABCDEF0123456789ABCDEF0123456789, 0x0123456789ABCDEF, True, TraceFlags(1), TraceState([("vendor", "x;y")]))


def make_spans(resource):
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("interop-traces", "4.5.6", "https://opentelemetry.io/schemas/1.30.0", {"scoped": True})
    parent, kinds = None, list(SpanKind)
    for i in range(60):
        span = tracer.start_span(
            f"span {i} {'x' * i}", parent, kinds[i % 5], {**ATTRIBUTES, "i": i}, [] if i % 7 else [Link(OTHER, {"linked": i})], S + i
        )
        if i % 3 == 0:
            span.add_event(f"event {i}", {"at": i, "text": "ä"}, S + i + 5)
        if i % 4 == 0:
            span.set_status(Status(StatusCode.ERROR, f"broken {i}"))
        if i % 4 == 1:
            span.set_status(Status(StatusCode.OK))
        span.end(S + 10**9 + i)
        if i % 10 == 0:
            parent = trace.set_span_in_context(span)
    return memory.get_finished_spans()


def make_metrics(resource):
    reader = InMemoryMetricReader()
    views = [View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation())]
    meter = MeterProvider([reader], resource=resource, views=views).get_meter("interop-metrics", "7.8.9")
    counter = meter.create_counter("requests", "1", "how many")
    up_down = meter.create_up_down_counter("queue")
    histogram = meter.create_histogram("duration", "ms")
    exponential = meter.create_histogram("exponential", "s")
    gauge = meter.create_gauge("temperature")
    gauge.set(-3.25, ATTRIBUTES)
    gauge.set(21.5, {"room": "Küche"})
    for i in range(40):
        counter.add(i, {"route": f"/api/{i % 8}", **ATTRIBUTES})
        up_down.add(-i if i % 2 else i, {"name": f"q{i % 3}"})
        histogram.record(i * 7.5, {"route": f"/api/{i % 4}"})
        exponential.record(1.1**i, {"code": i % 2})
    return reader.get_metrics_data()


def make_logs(resource):
    memory = InMemoryLogRecordExporter()
    provider = LoggerProvider(resource=resource)
    provider.add_log_record_processor(SimpleLogRecordProcessor(memory))
    logger = provider.get_logger("interop-logs", "0.0.1")
    bodies = ["plain", "grüße 🌊", "", 42, 2.5, True, ["a", 1, False], {"nested": {"deep": ["ä", {"x": 1}]}, "n": -1}, bytes([0, 255, 1, 254])]
    for i in range(45):
        context = trace.set_span_in_context(trace.NonRecordingSpan(OTHER)) if i % 2 else None
        logger.emit(LogRecord(
            timestamp=S + i, observed_timestamp=S + i + 6, context=context, severity_number=SeverityNumber(9 + i % 8), severity_text=f"S{i}",
            body=bodies[i % len(bodies)], attributes={**ATTRIBUTES, "i": i, "map": {"a": 1, "b": ["c"]}}, event_name=None if i % 5 else "interop.event",
        ))
    return memory.get_finished_logs()


def exporters(transport, compression, target):
    if transport == "grpc":
        name = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}[compression]
        return [make(endpoint=target["grpc"], insecure=True, compression=name, timeout=30) for make in (GrpcTraces, GrpcMetrics, GrpcLogs)]
    paths = {HttpTraces: "traces", HttpMetrics: "metrics", HttpLogs: "logs"}
    return [make(endpoint=f"http://{target['http']}/v1/{path}", compression=Compression(compression), timeout=30) for make, path in paths.items()]


def main():
    order = json.loads(sys.argv[1])
    made = {"spans": 0, "dataPoints": 0, "logRecords": 0}
    for way in order["ways"]:
        resource = Resource({"service.name": "interop", "sdk": "python", "way": way, "host.cpus": 4, "is.test": True})
        batches = [make_spans(resource), make_metrics(resource), make_logs(resource)]
        for target in order["targets"]:
            for exporter, batch in zip(exporters(*way.split("-"), target), batches):
                result = exporter.export(batch)
                if result.name != "SUCCESS":
                    sys.exit(f"{type(exporter).__module__}: export to {target} by {way}: {result}")
                exporter.shutdown()
        made["spans"] += len(batches[0])
        points = [len(m.data.data_points) for r in batches[1].resource_metrics for s in r.scope_metrics for m in s.metrics]
        made["dataPoints"] += sum(points)
        made["logRecords"] += len(batches[2])
    print(json.dumps(made))


main()
