// SPDX-License-Identifier: Apache-2.0

//! Exports the same spans, metrics and log records to each target with the Rust SDK's unmodified OTLP exporters.
//!
//!     usage: sdk-rust 'WAY,WAY…' 'GRPC HTTP' …      a target is its two addresses; ways: grpc-zstd, http-gzip, …
//!
//! What is exported is made once a way, so ids and times are the same at each target. Prints {"spans", "dataPoints", "logRecords"}.

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Array, Context, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_otlp::{Compression, LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{InMemoryLogExporter, LogBatch, LogExporter as _, SdkLoggerProvider};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter as _;
use opentelemetry_sdk::metrics::{Aggregation, InMemoryMetricExporter, Instrument, SdkMeterProvider, Stream};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData, SpanExporter as _};
use std::time::{Duration, SystemTime};

fn attributes() -> Vec<KeyValue> {
    vec![
        KeyValue::new("string", "grüße, 世界 🌊"),
        KeyValue::new("empty", ""),
        KeyValue::new("int", 42),
        KeyValue::new("large", i64::MAX),
        KeyValue::new("small", i64::MIN),
        KeyValue::new("double", 0.1),
        KeyValue::new("tiny", 5e-324),
        KeyValue::new("yes", true),
        KeyValue::new("no", false),
        KeyValue::new(
            "strings",
            Value::Array(Array::String(vec![StringValue::from("a"), StringValue::from(""), StringValue::from("ß")])),
        ),
        KeyValue::new("ints", Value::Array(Array::I64(vec![1, -2, 3]))),
        KeyValue::new("doubles", Value::Array(Array::F64(vec![0.5, 1e300]))),
        KeyValue::new("bools", Value::Array(Array::Bool(vec![true, false]))),
    ]
}

fn with(more: KeyValue) -> Vec<KeyValue> {
    let mut all = attributes();
    all.push(more);
    all
}

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_732_085_549, 123_456_789)
}

fn other() -> SpanContext {
    let state = TraceState::from_key_value([("vendor", "x;y")]).unwrap();
    SpanContext::new(
        TraceId::from(0xabcd_0000_0000_0000_0000_0000_0000_00ef),
        SpanId::from(0x0100_0000_0000_00ef),
        TraceFlags::SAMPLED,
        true,
        state,
    )
}

fn make_spans(resource: &Resource) -> Vec<SpanData> {
    let memory = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(memory.clone())
        .with_resource(resource.clone())
        .build();
    let scope = InstrumentationScope::builder("interop-traces")
        .with_version("4.5.6")
        .with_schema_url("https://opentelemetry.io/schemas/1.30.0")
        .with_attributes([KeyValue::new("scoped", true)])
        .build();
    let tracer = provider.tracer_with_scope(scope);
    let kinds = [
        SpanKind::Internal,
        SpanKind::Server,
        SpanKind::Client,
        SpanKind::Producer,
        SpanKind::Consumer,
    ];
    let mut parent = Context::new();
    for i in 0..60u64 {
        let at = start() + Duration::from_secs(i);
        let mut builder = tracer
            .span_builder(format!("span {i} {}", "x".repeat(i as usize)))
            .with_start_time(at)
            .with_kind(kinds[i as usize % kinds.len()].clone())
            .with_attributes(with(KeyValue::new("i", i as i64)));
        if i % 7 == 0 {
            builder = builder.with_links(vec![Link::new(other(), vec![KeyValue::new("linked", i as i64)], 0)]);
        }
        let mut span = builder.start_with_context(&tracer, &parent);
        if i % 3 == 0 {
            span.add_event_with_timestamp(format!("event {i}"), at + Duration::from_nanos(5), vec![KeyValue::new("text", "ä")]);
        }
        match i % 4 {
            0 => span.set_status(Status::error(format!("broken {i}"))),
            1 => span.set_status(Status::Ok),
            _ => {}
        }
        span.end_with_timestamp(at + Duration::from_secs(1));
        if i % 10 == 0 {
            parent = Context::new().with_span(span);
        }
    }
    provider.force_flush().unwrap();
    memory.get_finished_spans().unwrap()
}

fn make_metrics(resource: &Resource) -> Vec<ResourceMetrics> {
    let memory = InMemoryMetricExporter::default();
    let exponential = |i: &Instrument| {
        let aggregation = Aggregation::Base2ExponentialHistogram {
            max_size: 160,
            max_scale: 20,
            record_min_max: true,
        };
        (i.name() == "exponential").then(|| Stream::builder().with_aggregation(aggregation).build().unwrap())
    };
    let provider = SdkMeterProvider::builder()
        .with_periodic_exporter(memory.clone())
        .with_resource(resource.clone())
        .with_view(exponential)
        .build();
    let meter = provider.meter_with_scope(InstrumentationScope::builder("interop-metrics").with_version("7.8.9").build());
    let counter = meter.u64_counter("requests").with_unit("1").with_description("how many").build();
    let queue = meter.i64_up_down_counter("queue").build();
    let histogram = meter.f64_histogram("duration").with_unit("ms").build();
    let wide = meter.f64_histogram("exponential").with_unit("s").build();
    let gauge = meter.f64_gauge("temperature").build();
    gauge.record(-3.25, &attributes());
    gauge.record(21.5, &[KeyValue::new("room", "Küche")]);
    for i in 0..40i64 {
        counter.add(i as u64, &with(KeyValue::new("route", format!("/api/{}", i % 8))));
        queue.add(i % 3 - i % 5, &[KeyValue::new("name", format!("q{}", i % 3))]);
        histogram.record(i as f64 * 7.5, &[KeyValue::new("route", format!("/api/{}", i % 4))]);
        wide.record(1.1f64.powi(i as i32), &[KeyValue::new("code", i % 2)]);
    }
    provider.force_flush().unwrap();
    memory.get_finished_metrics().unwrap()
}

type Logs = Vec<opentelemetry_sdk::logs::in_memory_exporter::LogDataWithResource>;

fn make_logs(resource: &Resource) -> Logs {
    let memory = InMemoryLogExporter::default();
    let provider = SdkLoggerProvider::builder()
        .with_simple_exporter(memory.clone())
        .with_resource(resource.clone())
        .build();
    let logger = provider.logger_with_scope(InstrumentationScope::builder("interop-logs").with_version("0.0.1").build());
    let list = || AnyValue::ListAny(Box::new(vec!["ä".into(), AnyValue::Bytes(Box::new(vec![0, 255, 1, 254]))]));
    let severities = [
        Severity::Trace,
        Severity::Debug3,
        Severity::Info,
        Severity::Warn2,
        Severity::Error,
        Severity::Fatal4,
    ];
    for i in 0..45u64 {
        let mut record = logger.create_log_record();
        record.set_timestamp(start() + Duration::from_nanos(i));
        record.set_observed_timestamp(start() + Duration::from_nanos(i + 6));
        record.set_severity_number(severities[i as usize % severities.len()]);
        record.set_severity_text("S");
        record.set_body(match i % 7 {
            0 => "grüße 🌊".into(),
            1 => "".into(),
            2 => 42.into(),
            3 => 2.5.into(),
            4 => true.into(),
            5 => list(),
            _ => AnyValue::Map(Box::new([("nested".into(), list())].into())),
        });
        for attribute in attributes().into_iter().take(9) {
            let value: AnyValue = match attribute.value {
                Value::Bool(v) => v.into(),
                Value::I64(v) => v.into(),
                Value::F64(v) => v.into(),
                other => other.as_str().into_owned().into(),
            };
            record.add_attribute(attribute.key, value);
        }
        record.add_attribute("list", list());
        if i % 2 == 1 {
            record.set_trace_context(other().trace_id(), other().span_id(), Some(TraceFlags::SAMPLED));
        }
        if i % 5 == 0 {
            record.set_event_name("interop.event");
        }
        logger.emit(record);
    }
    memory.get_emitted_logs().unwrap()
}

fn points(all: &[ResourceMetrics]) -> usize {
    fn of<T>(data: &MetricData<T>) -> usize {
        match data {
            MetricData::Gauge(d) => d.data_points().count(),
            MetricData::Sum(d) => d.data_points().count(),
            MetricData::Histogram(d) => d.data_points().count(),
            MetricData::ExponentialHistogram(d) => d.data_points().count(),
        }
    }
    let metrics = all.iter().flat_map(|r| r.scope_metrics()).flat_map(|s| s.metrics());
    metrics
        .map(|m| match m.data() {
            AggregatedMetrics::F64(d) => of(d),
            AggregatedMetrics::U64(d) => of(d),
            AggregatedMetrics::I64(d) => of(d),
        })
        .sum()
}

/// The exporter of one signal, by gRPC or HTTP: the builders of the three have the same methods and no common trait.
macro_rules! exporter {
    ($exporter:ident, $path:literal, $transport:expr, $compression:expr, $target:expr) => {{
        let (grpc, http) = $target;
        if $transport == "grpc" {
            let mut builder = $exporter::builder().with_tonic().with_endpoint(format!("http://{grpc}"));
            if let Some(compression) = $compression {
                builder = builder.with_compression(compression);
            }
            builder.build().unwrap()
        } else {
            let url = format!("http://{http}{}", $path);
            let mut builder = $exporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(url);
            if let Some(compression) = $compression {
                builder = builder.with_compression(compression);
            }
            builder.build().unwrap()
        }
    }};
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut span_count, mut point_count, mut log_count) = (0, 0, 0);
    for way in arguments[1].split(',') {
        let (transport, compression) = way.split_once('-').unwrap();
        let compression = || match compression {
            "gzip" => Some(Compression::Gzip),
            "zstd" => Some(Compression::Zstd),
            _ => None,
        };
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", "interop"),
                KeyValue::new("sdk", "rust"),
                KeyValue::new("way", way.to_string()),
            ])
            .build();
        let (spans, metrics, logs) = (make_spans(&resource), make_metrics(&resource), make_logs(&resource));
        let batch: Vec<_> = logs.iter().map(|l| (&l.record, &l.instrumentation)).collect();
        for target in &arguments[2..] {
            let target = target.split_once(' ').unwrap();
            let guard = (transport == "grpc").then(|| runtime.enter()); // the blocking HTTP client must not be made inside
            let mut for_spans = exporter!(SpanExporter, "/v1/traces", transport, compression(), target);
            let for_metrics = exporter!(MetricExporter, "/v1/metrics", transport, compression(), target);
            let mut for_logs = exporter!(LogExporter, "/v1/logs", transport, compression(), target);
            for_spans.set_resource(&resource);
            for_logs.set_resource(&resource);
            futures_executor::block_on(for_spans.export(spans.clone())).unwrap();
            for one in &metrics {
                futures_executor::block_on(for_metrics.export(one)).unwrap();
            }
            futures_executor::block_on(for_logs.export(LogBatch::new(&batch))).unwrap();
            drop(guard);
        }
        span_count += spans.len();
        point_count += points(&metrics);
        log_count += logs.len();
    }
    println!("{{\"spans\": {span_count}, \"dataPoints\": {point_count}, \"logRecords\": {log_count}}}");
}
