// SPDX-License-Identifier: Apache-2.0

// Exports the same spans, metrics and log records to each target with the Go SDK's unmodified OTLP exporters.
//
//	usage: sdk-go '{"targets": [{"grpc": ADDRESS, "http": ADDRESS}, …], "ways": ["grpc-zstd", "http-gzip", …]}'
//
// The SDK's objects are made once a way, so ids and times are the same at each target. Prints {"spans", "dataPoints", "logRecords"}.
// gRPC's Go library takes any compressor that a program registers: the one for zstd is made here, of klauspost's.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip"
)

type zstdCompressor struct{}

func (zstdCompressor) Name() string                                 { return "zstd" }
func (zstdCompressor) Compress(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }
func (zstdCompressor) Decompress(r io.Reader) (io.Reader, error)    { return zstd.NewReader(r) }

func init() { encoding.RegisterCompressor(zstdCompressor{}) }

var (
	ctx        = context.Background()
	start      = time.Unix(1732085549, 123456789)
	attributes = []attribute.KeyValue{
		attribute.String("string", "grüße, 世界 🌊"), attribute.String("empty", ""), attribute.Int64("int", 42), attribute.Int64("negative", -7),
		attribute.Int64("large", math.MaxInt64), attribute.Int64("small", math.MinInt64), attribute.Float64("double", 0.1),
		attribute.Float64("tiny", 5e-324), attribute.Bool("yes", true), attribute.Bool("no", false),
		attribute.StringSlice("strings", []string{"a", "", "ß"}), attribute.Int64Slice("ints", []int64{1, -2, 3}),
		attribute.Float64Slice("doubles", []float64{0.5, 1e300}), attribute.BoolSlice("bools", []bool{true, false}),
	}
	state, _ = trace.ParseTraceState("vendor=x;y")
	other    = trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{0xab, 0xcd, 15: 0xef}, SpanID: trace.SpanID{1, 7: 0xef}, TraceFlags: trace.FlagsSampled, TraceState: state, Remote: true,
	})
)

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func with(more ...attribute.KeyValue) []attribute.KeyValue {
	return append(append([]attribute.KeyValue{}, attributes...), more...)
}

func makeSpans(res *resource.Resource) []sdktrace.ReadOnlySpan {
	memory := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(memory), sdktrace.WithResource(res))
	tracer := provider.Tracer("interop-traces", trace.WithInstrumentationVersion("4.5.6"),
		trace.WithSchemaURL("https://opentelemetry.io/schemas/1.30.0"), trace.WithInstrumentationAttributes(attribute.Bool("scoped", true)))
	parent := ctx
	for i := range 60 {
		at := start.Add(time.Duration(i) * time.Second)
		options := []trace.SpanStartOption{
			trace.WithTimestamp(at), trace.WithSpanKind(trace.SpanKind(i%5 + 1)), trace.WithAttributes(with(attribute.Int("i", i))...),
		}
		if i%7 == 0 {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: other, Attributes: []attribute.KeyValue{attribute.Int("linked", i)}}))
		}
		child, span := tracer.Start(parent, fmt.Sprintf("span %d %s", i, strings.Repeat("x", i)), options...)
		if i%3 == 0 {
			span.AddEvent(fmt.Sprint("event ", i), trace.WithTimestamp(at.Add(5)), trace.WithAttributes(attribute.String("text", "ä")))
		}
		if i%4 == 0 {
			span.SetStatus(codes.Error, fmt.Sprint("broken ", i))
		} else if i%4 == 1 {
			span.SetStatus(codes.Ok, "")
		}
		span.End(trace.WithTimestamp(at.Add(time.Second)))
		if i%10 == 0 {
			parent = child
		}
	}
	return memory.GetSpans().Snapshots()
}

func makeMetrics(res *resource.Resource) *metricdata.ResourceMetrics {
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(res),
		sdkmetric.WithView(sdkmetric.NewView(sdkmetric.Instrument{Name: "exponential"},
			sdkmetric.Stream{Aggregation: sdkmetric.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20}})))
	meter := provider.Meter("interop-metrics", metric.WithInstrumentationVersion("7.8.9"))
	counter := must(meter.Int64Counter("requests", metric.WithUnit("1"), metric.WithDescription("how many")))
	upDown := must(meter.Int64UpDownCounter("queue"))
	histogram := must(meter.Float64Histogram("duration", metric.WithUnit("ms")))
	exponential := must(meter.Float64Histogram("exponential", metric.WithUnit("s")))
	gauge := must(meter.Float64Gauge("temperature"))
	sampled := trace.ContextWithSpanContext(ctx, other) // exemplars
	gauge.Record(ctx, -3.25, metric.WithAttributes(attributes...))
	gauge.Record(ctx, 21.5, metric.WithAttributes(attribute.String("room", "Küche")))
	for i := range 40 {
		counter.Add(sampled, int64(i), metric.WithAttributes(with(attribute.String("route", fmt.Sprint("/api/", i%8)))...))
		upDown.Add(ctx, int64(i%3-i%5), metric.WithAttributes(attribute.String("name", fmt.Sprint("q", i%3))))
		histogram.Record(sampled, float64(i)*7.5, metric.WithAttributes(attribute.String("route", fmt.Sprint("/api/", i%4))))
		exponential.Record(ctx, math.Pow(1.1, float64(i)), metric.WithAttributes(attribute.Int("code", i%2)))
	}
	var collected metricdata.ResourceMetrics
	check(reader.Collect(ctx, &collected))
	return &collected
}

type memoryLogs struct{ records []sdklog.Record }

func (m *memoryLogs) Export(_ context.Context, records []sdklog.Record) error {
	for _, record := range records {
		m.records = append(m.records, record.Clone())
	}
	return nil
}
func (m *memoryLogs) Shutdown(context.Context) error   { return nil }
func (m *memoryLogs) ForceFlush(context.Context) error { return nil }

func makeLogs(res *resource.Resource) []sdklog.Record {
	memory := &memoryLogs{}
	provider := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewSimpleProcessor(memory)), sdklog.WithResource(res))
	logger := provider.Logger("interop-logs", log.WithInstrumentationVersion("0.0.1"))
	list := attribute.SliceValue(attribute.StringValue("ä"), attribute.Value{}, attribute.ByteSliceValue([]byte{0, 255, 1, 254}))
	bodies := []attribute.Value{
		attribute.StringValue("plain"), attribute.StringValue("grüße 🌊"), attribute.StringValue(""), attribute.Int64Value(42),
		attribute.Float64Value(2.5), attribute.BoolValue(true), list, attribute.ByteSliceValue([]byte{0, 255, 1, 254}),
		attribute.MapValue(attribute.KeyValue{Key: "nested", Value: attribute.MapValue(attribute.KeyValue{Key: "deep", Value: list})}, attribute.Int("n", -1)),
	}
	for i := range 45 {
		var record log.Record
		record.SetTimestamp(start.Add(time.Duration(i)))
		record.SetObservedTimestamp(start.Add(time.Duration(i + 6)))
		record.SetSeverity(log.Severity(9 + i%8))
		record.SetSeverityText(fmt.Sprint("S", i))
		record.SetBody(bodies[i%len(bodies)])
		record.AddAttributes(with(attribute.Int("i", i), attribute.KeyValue{Key: "list", Value: list})...)
		from := ctx
		if i%2 == 1 {
			from = trace.ContextWithSpanContext(ctx, other)
		}
		if i%5 == 0 {
			record.SetEventName("interop.event")
		}
		logger.Emit(from, record)
	}
	return memory.records
}

type target struct{ GRPC, HTTP string }

// An exporter of each signal, of two packages each: what they have in common.
func exporters(to target, transport, compression string) (sdktrace.SpanExporter, sdkmetric.Exporter, sdklog.Exporter) {
	if transport == "grpc" {
		traces := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(to.GRPC), otlptracegrpc.WithInsecure()}
		metrics := []otlpmetricgrpc.Option{otlpmetricgrpc.WithEndpoint(to.GRPC), otlpmetricgrpc.WithInsecure()}
		logs := []otlploggrpc.Option{otlploggrpc.WithEndpoint(to.GRPC), otlploggrpc.WithInsecure()}
		if compression != "none" {
			dial := grpc.WithDefaultCallOptions(grpc.UseCompressor(compression)) // WithCompressor knows gzip alone
			traces = append(traces, otlptracegrpc.WithDialOption(dial))
			metrics = append(metrics, otlpmetricgrpc.WithDialOption(dial))
			logs = append(logs, otlploggrpc.WithDialOption(dial))
		}
		return must(otlptracegrpc.New(ctx, traces...)), must(otlpmetricgrpc.New(ctx, metrics...)), must(otlploggrpc.New(ctx, logs...))
	}
	traces := []otlptracehttp.Option{otlptracehttp.WithEndpoint(to.HTTP), otlptracehttp.WithInsecure()}
	metrics := []otlpmetrichttp.Option{otlpmetrichttp.WithEndpoint(to.HTTP), otlpmetrichttp.WithInsecure()}
	logs := []otlploghttp.Option{otlploghttp.WithEndpoint(to.HTTP), otlploghttp.WithInsecure()}
	if compression == "gzip" {
		traces = append(traces, otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
		metrics = append(metrics, otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression))
		logs = append(logs, otlploghttp.WithCompression(otlploghttp.GzipCompression))
	}
	return must(otlptracehttp.New(ctx, traces...)), must(otlpmetrichttp.New(ctx, metrics...)), must(otlploghttp.New(ctx, logs...))
}

func points(collected *metricdata.ResourceMetrics) (n int) {
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				n += len(data.DataPoints)
			case metricdata.Gauge[float64]:
				n += len(data.DataPoints)
			case metricdata.Histogram[float64]:
				n += len(data.DataPoints)
			case metricdata.ExponentialHistogram[float64]:
				n += len(data.DataPoints)
			default:
				check(fmt.Errorf("%s: %T", m.Name, data))
			}
		}
	}
	return n
}

func main() {
	var order struct {
		Targets []target
		Ways    []string
	}
	check(json.Unmarshal([]byte(os.Args[1]), &order))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(check))
	made := map[string]int{}
	for _, way := range order.Ways {
		transport, compression, _ := strings.Cut(way, "-")
		res := resource.NewSchemaless(attribute.String("service.name", "interop"), attribute.String("sdk", "go"), attribute.String("way", way),
			attribute.Int("host.cpus", 4), attribute.Bool("is.test", true))
		spans, metrics, logs := makeSpans(res), makeMetrics(res), makeLogs(res)
		for _, to := range order.Targets {
			forSpans, forMetrics, forLogs := exporters(to, transport, compression)
			check(forSpans.ExportSpans(ctx, spans))
			check(forMetrics.Export(ctx, metrics))
			check(forLogs.Export(ctx, logs))
			check(forSpans.Shutdown(ctx))
			check(forMetrics.Shutdown(ctx))
			check(forLogs.Shutdown(ctx))
		}
		made["spans"] += len(spans)
		made["dataPoints"] += points(metrics)
		made["logRecords"] += len(logs)
	}
	check(json.NewEncoder(os.Stdout).Encode(made))
}
