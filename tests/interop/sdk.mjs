// SPDX-License-Identifier: Apache-2.0
// Exports the same spans, metrics and log records to each target with unmodified OTLP exporters.
//   usage: node export.mjs '{"targets": [{"grpc": ADDRESS, "http": ADDRESS}, …], "ways": ["grpc-gzip", "http-none", "json-gzip", …]}'
// The SDK's objects are made once a way, so ids and times are the same at each target. Prints {"spans", "dataPoints", "logRecords"}.
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, trace } from '@opentelemetry/api';
import { SeverityNumber } from '@opentelemetry/api-logs';
import { OTLPLogExporter as GrpcLogs } from '@opentelemetry/exporter-logs-otlp-grpc';
import { OTLPLogExporter as JsonLogs } from '@opentelemetry/exporter-logs-otlp-http';
import { OTLPLogExporter as HttpLogs } from '@opentelemetry/exporter-logs-otlp-proto';
import { OTLPMetricExporter as GrpcMetrics } from '@opentelemetry/exporter-metrics-otlp-grpc';
import { OTLPMetricExporter as JsonMetrics } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPMetricExporter as HttpMetrics } from '@opentelemetry/exporter-metrics-otlp-proto';
import { OTLPTraceExporter as GrpcTraces } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as JsonTraces } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as HttpTraces } from '@opentelemetry/exporter-trace-otlp-proto';
import { CompressionAlgorithm } from '@opentelemetry/otlp-exporter-base';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { InMemoryLogRecordExporter, LoggerProvider, SimpleLogRecordProcessor } from '@opentelemetry/sdk-logs';
import { AggregationType, MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';

const { targets, ways } = JSON.parse(process.argv[2]);
const makeResource = (way) => resourceFromAttributes({
    'service.name': 'interop', 'service.version': '1.2.3', sdk: 'js', way, 'host.cpus': 4, 'is.test': true,
});
const attributes = {
    string: 'grüße, 世界 🌊', empty: '', int: 42, negative: -7, large: 2 ** 53 - 1, double: 0.1, tiny: 5e-324, yes: true, no: false,
    strings: ['a', '', 'ß'], ints: [1, -2, 3], doubles: [0.5, 1e-300], bools: [true, false], none: [],
};

function makeSpans(resource) {
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

async function makeMetrics(resource) {
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

function makeLogs(resource, bytes) {
    const memory = new InMemoryLogRecordExporter();
    const provider = new LoggerProvider({ resource, processors: [new SimpleLogRecordProcessor(memory)] });
    const logger = provider.getLogger('interop-logs', '0.0.1');
    const bodies = ['plain', 'grüße 🌊', '', 42, 2.5, true, ['a', 1, false], { nested: { deep: ['ä', { x: 1 }] }, n: -1 },
        ...(bytes ? [new Uint8Array([0, 255, 1, 254])] : [])];
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

const exporters = {
    grpc: [GrpcTraces, GrpcMetrics, GrpcLogs],
    http: [HttpTraces, HttpMetrics, HttpLogs],
    json: [JsonTraces, JsonMetrics, JsonLogs],
};
const paths = ['/v1/traces', '/v1/metrics', '/v1/logs'];

async function send(Exporter, url, compression, items) {
    const exporter = new Exporter({ url, timeoutMillis: 30000, compression: CompressionAlgorithm[compression.toUpperCase()] });
    await new Promise((resolve, reject) => exporter.export(items, (result) => {
        if (result.code === 0) resolve();
        else reject(result.error ?? new Error(`export to ${url} failed`));
    }));
    await exporter.shutdown();
}

const made = { spans: 0, dataPoints: 0, logRecords: 0 };
for (const way of ways) {
    const [transport, compression] = way.split('-');
    const resource = makeResource(way);
    // Its JSON has bytes as an object of numbers, and whole doubles above 2^63 as intValue: neither is OTLP, and nobody takes them.
    const batches = [makeSpans(resource), await makeMetrics(resource), makeLogs(resource, transport !== 'json')];
    for (const target of targets) {
        for (const [i, items] of batches.entries()) {
            const url = transport === 'grpc' ? `http://${target.grpc}` : `http://${target.http}${paths[i]}`;
            await send(exporters[transport][i], url, compression, items);
        }
    }
    made.spans += batches[0].length;
    made.dataPoints += batches[1].scopeMetrics.flatMap((s) => s.metrics).reduce((n, m) => n + m.dataPoints.length, 0);
    made.logRecords += batches[2].length;
}
console.log(JSON.stringify(made));
