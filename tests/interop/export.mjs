// SPDX-License-Identifier: Apache-2.0
// Exports the same spans, metrics and log records twice with unmodified OTLP exporters: to weir and straight to a sink.
//   usage: node export.mjs WEIR_ADDRESS DIRECT_ADDRESS grpc|http none|gzip
// The SDK's objects are made once, so ids and times are the same in both. Prints {"spans", "dataPoints", "logRecords"}.
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, trace } from '@opentelemetry/api';
import { SeverityNumber } from '@opentelemetry/api-logs';
import { OTLPLogExporter as GrpcLogs } from '@opentelemetry/exporter-logs-otlp-grpc';
import { OTLPLogExporter as HttpLogs } from '@opentelemetry/exporter-logs-otlp-proto';
import { OTLPMetricExporter as GrpcMetrics } from '@opentelemetry/exporter-metrics-otlp-grpc';
import { OTLPMetricExporter as HttpMetrics } from '@opentelemetry/exporter-metrics-otlp-proto';
import { OTLPTraceExporter as GrpcTraces } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as HttpTraces } from '@opentelemetry/exporter-trace-otlp-proto';
import { CompressionAlgorithm } from '@opentelemetry/otlp-exporter-base';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { InMemoryLogRecordExporter, LoggerProvider, SimpleLogRecordProcessor } from '@opentelemetry/sdk-logs';
import { AggregationType, MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';

const [weir, direct, transport, compression] = process.argv.slice(2);
const resource = resourceFromAttributes({
    'service.name': 'interop', 'service.version': '1.2.3', way: `${transport}-${compression}`, 'host.cpus': 4, 'is.test': true,
});
const attributes = {
    string: 'grüße, 世界 🌊', empty: '', int: 42, negative: -7, large: 2 ** 53 - 1, double: 0.1, tiny: 5e-324, yes: true, no: false,
    strings: ['a', '', 'ß'], ints: [1, -2, 3], doubles: [0.5, 1e300], bools: [true, false], none: [],
};

function makeSpans() {
    const memory = new InMemorySpanExporter();
    const provider = new BasicTracerProvider({ resource, spanProcessors: [new SimpleSpanProcessor(memory)] });
    const tracer = provider.getTracer('interop-traces', '4.5.6', { schemaUrl: 'https://opentelemetry.io/schemas/1.30.0' });
    const kinds = [SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER];
    let parent = ROOT_CONTEXT;
    for (let i = 0; i < 60; i++) {
        const links = i % 7 ? [] : [{
            context: { traceId: 'abcdef0123456789abcdef0123456789', spanId: '0123456789abcdef', traceFlags: TraceFlags.SAMPLED },
            attributes: { linked: i },
        }];
        const start = [1732085549 + i, 123456789];
        const span = tracer.startSpan(`span ${i} ${'x'.repeat(i)}`, { kind: kinds[i % 5], attributes: { ...attributes, i }, links, startTime: start }, parent);
        if (i % 3 === 0) span.addEvent(`event ${i}`, { at: i, text: 'ä' }, [1732085549 + i, 200000001]);
        if (i % 4 === 0) span.setStatus({ code: SpanStatusCode.ERROR, message: `broken ${i}` });
        if (i % 4 === 1) span.setStatus({ code: SpanStatusCode.OK });
        span.end([1732085550 + i, 987654321]);
        if (i % 10 === 0) parent = trace.setSpan(ROOT_CONTEXT, span);
    }
    return memory.getFinishedSpans();
}

class OneReader extends MetricReader {
    async onForceFlush() {}
    async onShutdown() {}
}

async function makeMetrics() {
    const reader = new OneReader();
    const provider = new MeterProvider({
        resource, readers: [reader],
        views: [{ instrumentName: 'exponential', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }],
    });
    const meter = provider.getMeter('interop-metrics', '7.8.9');
    const counter = meter.createCounter('requests', { unit: '1', description: 'how many' });
    const upDown = meter.createUpDownCounter('queue');
    const histogram = meter.createHistogram('duration', { unit: 'ms' });
    const exponential = meter.createHistogram('exponential', { unit: 's' });
    meter.createObservableGauge('temperature').addCallback((result) => {
        result.observe(-3.25, attributes);
        result.observe(21.5, { room: 'Küche' });
    });
    for (let i = 0; i < 40; i++) {
        counter.add(i, { route: `/api/${i % 8}`, ...attributes });
        upDown.add(i % 2 ? -i : i, { name: `q${i % 3}` });
        histogram.record(i * 7.5, { route: `/api/${i % 4}` });
        exponential.record(1.1 ** i, { code: i % 2 });
    }
    return (await reader.collect()).resourceMetrics;
}

function makeLogs() {
    const memory = new InMemoryLogRecordExporter();
    const provider = new LoggerProvider({ resource, processors: [new SimpleLogRecordProcessor(memory)] });
    const logger = provider.getLogger('interop-logs', '0.0.1');
    const bodies = ['plain', 'grüße 🌊', '', 42, 2.5, true, ['a', 1, false], { nested: { deep: ['ä', { x: 1 }] }, n: -1 },
        new Uint8Array([0, 255, 1, 254])];
    for (let i = 0; i < 45; i++) {
        const spanContext = { traceId: 'abcdef0123456789abcdef012345678' + (i % 10), spanId: '0123456789abcdef', traceFlags: 1 };
        logger.emit({
            timestamp: [1732085549 + i, 5 + i], observedTimestamp: [1732085550 + i, 6], severityNumber: SeverityNumber.INFO + (i % 8),
            severityText: `S${i}`, eventName: i % 5 ? undefined : 'interop.event', body: bodies[i % bodies.length],
            attributes: { ...attributes, i, map: { a: 1, b: ['c'] } },
            context: i % 2 ? trace.setSpanContext(ROOT_CONTEXT, spanContext) : ROOT_CONTEXT,
        });
    }
    return memory.getFinishedLogRecords();
}

function exporter(Grpc, Http, address, path) {
    const options = { compression: compression === 'gzip' ? CompressionAlgorithm.GZIP : CompressionAlgorithm.NONE, timeoutMillis: 30000 };
    return transport === 'grpc' ? new Grpc({ ...options, url: `http://${address}` }) : new Http({ ...options, url: `http://${address}${path}` });
}

async function send(Grpc, Http, path, items) {
    for (const address of [weir, direct]) {
        const to = exporter(Grpc, Http, address, path);
        await new Promise((resolve, reject) => to.export(items, (result) => {
            if (result.code === 0) resolve();
            else reject(result.error ?? new Error(`export to ${address} failed`));
        }));
        await to.shutdown();
    }
}

const spans = makeSpans();
const metrics = await makeMetrics();
const logs = makeLogs();
await send(GrpcTraces, HttpTraces, '/v1/traces', spans);
await send(GrpcMetrics, HttpMetrics, '/v1/metrics', metrics);
await send(GrpcLogs, HttpLogs, '/v1/logs', logs);
const dataPoints = metrics.scopeMetrics.flatMap((s) => s.metrics).reduce((n, m) => n + m.dataPoints.length, 0);
console.log(JSON.stringify({ spans: spans.length, dataPoints, logRecords: logs.length }));
