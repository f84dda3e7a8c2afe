// SPDX-License-Identifier: Apache-2.0

// otlpjson reads OTLP/JSON lines as the Collector's otlpjsonfile receiver does: every line goes to the unmarshaler of each signal's
// pipeline, and those that find nothing of theirs pass it over.
//
//	otlpjson ids LINES             {"traces": [ids], ...}: the int attribute weir.test.id of every item, and how many items there are
//	otlpjson same RECORDS LINES    whether line n says what record n does: u8 signal, u32 length, request in protobuf
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pprofile"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

const idKey = "weir.test.id"

type found struct {
	IDs   map[string][]int64 `json:"ids"`
	Items map[string]int     `json:"items"`
	Lines int                `json:"lines"`
}

func (f *found) add(signal string, attributes pcommon.Map) {
	f.Items[signal]++
	if id, ok := attributes.Get(idKey); ok {
		f.IDs[signal] = append(f.IDs[signal], id.Int())
	}
}

func (f *found) addTraces(data ptrace.Traces) {
	for _, resource := range data.ResourceSpans().All() {
		for _, scope := range resource.ScopeSpans().All() {
			for _, span := range scope.Spans().All() {
				f.add("traces", span.Attributes())
			}
		}
	}
}

func (f *found) addLogs(data plog.Logs) {
	for _, resource := range data.ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				f.add("logs", record.Attributes())
			}
		}
	}
}

func (f *found) addMetric(metric pmetric.Metric) {
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		for _, point := range metric.Gauge().DataPoints().All() {
			f.add("metrics", point.Attributes())
		}
	case pmetric.MetricTypeSum:
		for _, point := range metric.Sum().DataPoints().All() {
			f.add("metrics", point.Attributes())
		}
	case pmetric.MetricTypeHistogram:
		for _, point := range metric.Histogram().DataPoints().All() {
			f.add("metrics", point.Attributes())
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, point := range metric.ExponentialHistogram().DataPoints().All() {
			f.add("metrics", point.Attributes())
		}
	case pmetric.MetricTypeSummary:
		for _, point := range metric.Summary().DataPoints().All() {
			f.add("metrics", point.Attributes())
		}
	}
}

func (f *found) addMetrics(data pmetric.Metrics) {
	for _, resource := range data.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				f.addMetric(metric)
			}
		}
	}
}

func (f *found) addProfiles(data pprofile.Profiles) {
	for _, resource := range data.ResourceProfiles().All() {
		for _, scope := range resource.ScopeProfiles().All() {
			f.Items["profiles"] += scope.Profiles().Len()
		}
	}
}

func (f *found) addLine(line []byte) error {
	traces, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(line)
	if err != nil {
		return fmt.Errorf("as traces: %w", err)
	}
	metrics, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(line)
	if err != nil {
		return fmt.Errorf("as metrics: %w", err)
	}
	logs, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(line)
	if err != nil {
		return fmt.Errorf("as logs: %w", err)
	}
	profiles, err := (&pprofile.JSONUnmarshaler{}).UnmarshalProfiles(line)
	if err != nil {
		return fmt.Errorf("as profiles: %w", err)
	}
	f.addTraces(traces)
	f.addMetrics(metrics)
	f.addLogs(logs)
	f.addProfiles(profiles)
	f.Lines++
	return nil
}

func eachLine(path string, each func([]byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	reader := bufio.NewReaderSize(file, 1<<20)
	for {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("a line without an end: %w", err)
		}
		if err := each(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
			return err
		}
	}
}

func ids(lines string) error {
	all := found{IDs: map[string][]int64{}, Items: map[string]int{}}
	if err := eachLine(lines, all.addLine); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

type marshal func() ([]byte, error)

// Nil when both are refused, for what they say, or both are the same when the Collector writes them in protobuf again.
func verdict(wireErr, textErr error, wire, text marshal) error {
	if wireErr != nil && textErr != nil {
		return nil
	}
	if err := errors.Join(wireErr, textErr); err != nil {
		return err
	}
	want, err := wire()
	if err != nil {
		return err
	}
	got, err := text()
	if err == nil && !bytes.Equal(want, got) {
		err = errors.New("other content")
	}
	return err
}

func compare(signal byte, record, line []byte) error {
	switch signal {
	case 0:
		a, e1 := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(record)
		b, e2 := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(line)
		return verdict(e1, e2, func() ([]byte, error) { return (&ptrace.ProtoMarshaler{}).MarshalTraces(a) },
			func() ([]byte, error) { return (&ptrace.ProtoMarshaler{}).MarshalTraces(b) })
	case 1:
		a, e1 := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(record)
		b, e2 := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(line)
		return verdict(e1, e2, func() ([]byte, error) { return (&pmetric.ProtoMarshaler{}).MarshalMetrics(a) },
			func() ([]byte, error) { return (&pmetric.ProtoMarshaler{}).MarshalMetrics(b) })
	case 2:
		a, e1 := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(record)
		b, e2 := (&plog.JSONUnmarshaler{}).UnmarshalLogs(line)
		return verdict(e1, e2, func() ([]byte, error) { return (&plog.ProtoMarshaler{}).MarshalLogs(a) },
			func() ([]byte, error) { return (&plog.ProtoMarshaler{}).MarshalLogs(b) })
	default:
		a, e1 := (&pprofile.ProtoUnmarshaler{}).UnmarshalProfiles(record)
		b, e2 := (&pprofile.JSONUnmarshaler{}).UnmarshalProfiles(line)
		return verdict(e1, e2, func() ([]byte, error) { return (&pprofile.ProtoMarshaler{}).MarshalProfiles(a) },
			func() ([]byte, error) { return (&pprofile.ProtoMarshaler{}).MarshalProfiles(b) })
	}
}

func same(records, lines string) error {
	data, err := os.ReadFile(records)
	if err != nil {
		return err
	}
	number, wrong := 0, 0
	err = eachLine(lines, func(line []byte) error {
		if len(data) < 5 || len(data)-5 < int(binary.LittleEndian.Uint32(data[1:])) {
			return errors.New("more lines than records")
		}
		signal, end := data[0], 5+binary.LittleEndian.Uint32(data[1:])
		if err := compare(signal, data[5:end], line); err != nil {
			wrong++
			fmt.Fprintf(os.Stderr, "otlpjson: record %d (signal %d): differs: %v\n", number, signal, err)
		}
		data = data[end:]
		number++
		return nil
	})
	if err == nil && len(data) > 0 {
		err = errors.New("more records than lines")
	}
	if err == nil && wrong > 0 {
		err = fmt.Errorf("%d of %d differ", wrong, number)
	}
	if err == nil {
		fmt.Printf("%d the same\n", number)
	}
	return err
}

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "ids":
		err = ids(os.Args[2])
	case len(os.Args) == 4 && os.Args[1] == "same":
		err = same(os.Args[2], os.Args[3])
	default:
		err = errors.New("usage: otlpjson ids LINES | otlpjson same RECORDS LINES")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "otlpjson:", err)
		os.Exit(1)
	}
}
