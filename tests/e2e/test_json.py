# SPDX-License-Identifier: Apache-2.0
"""OTLP/JSON: taken as protobuf would be, answered in JSON, refused with the field's name."""

import gzip
import json
import subprocess

from weirtest import probe

PATHS = {"traces": "/v1/traces", "metrics": "/v1/metrics", "logs": "/v1/logs", "profiles": "/v1development/profiles"}


def zstd(data):
    return subprocess.run(["zstd", "-c", "-q"], input=data, capture_output=True, check=True).stdout


def attribute(number):
    return [{"key": "weir.test.id", "value": {"intValue": str(number)}}]


def documents(first):
    """One request a signal with the numbers first and first + 1."""
    ids = (first, first + 1)
    span = [{"traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": f"{n + 1:016x}", "name": "s", "kind": 2, "startTimeUnixNano": 5,
             "endTimeUnixNano": "6", "attributes": attribute(n)} for n in ids]
    log = [{"timeUnixNano": "5", "severityNumber": 9, "body": {"stringValue": "\u20ac \U0001f600"}, "attributes": attribute(n)} for n in ids]
    point = [{"asInt": str(n), "timeUnixNano": "5", "attributes": attribute(n)} for n in ids]
    return {
        "traces": {"resourceSpans": [{"resource": {"schemaUrl": "no such field"}, "scopeSpans": [{"spans": span}]}]},
        "logs": {"resourceLogs": [{"scope_logs": [{"log_records": log}]}]},
        "metrics": {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "gauge": {"dataPoints": point}}]}]}]},
    }


def post(box, relay, path, body, *headers):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return probe(relay.http, "http", path, body, box, header=["content-type: application/json; charset=utf-8", *headers])


def test_json_is_stored_and_delivered_as_protobuf(box):
    # P2, P21, J17
    sink = box.sink()
    relay = box.weir(sink.url("grpc"))
    for signal, document in documents(10).items():
        answer = post(box, relay, PATHS[signal], document)
        assert (answer["http_status"], answer["body"], answer["headers"]["content-type"]) == (200, b"{}", "application/json")
    for signal, document in documents(20).items():  # J22
        body = json.dumps(document).encode()
        assert post(box, relay, PATHS[signal], gzip.compress(body), "content-encoding: gzip")["http_status"] == 200
    for signal, document in documents(30).items():
        body = json.dumps(document, ensure_ascii=False).encode()
        assert post(box, relay, PATHS[signal], zstd(body), "content-encoding: zstd")["http_status"] == 200
    assert post(box, relay, PATHS["profiles"], {"resourceProfiles": [{"scopeProfiles": [{}]}]})["http_status"] == 200
    relay.wait_drained()
    for signal in documents(0):
        assert sink.ids(signal) == {10, 11, 20, 21, 30, 31}
        assert relay.lane(signal)["accepted"] == 6


def test_wrong_json_is_refused_in_json_with_the_field(box):
    # E2
    sink = box.sink()
    relay = box.weir(sink.url("grpc"), config={"receiver": {"max_request_size": "1MiB"}})
    wrong = documents(1)["traces"]
    wrong["resourceSpans"][0]["scopeSpans"][0]["spans"][1]["traceId"] = "5b8e"
    for body, text in ((wrong, "resourceSpans[0].scopeSpans[0].spans[1].traceId: not 32 hex digits"), (b"", "an object is needed"),
                       (b"{} x", "something follows the object"), (b'{"resourceSpans":{}}', "resourceSpans: an array is needed"),
                       (b'{"a":' + b"[" * 100000, "nested too deep")):
        answer = post(box, relay, PATHS["traces"], body)
        status = json.loads(answer["body"])
        assert answer["http_status"] == 400 and answer["headers"]["content-type"] == "application/json"
        assert status["code"] == 3 and text in status["message"], status
    answer = post(box, relay, PATHS["metrics"], b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{"explicitBounds":['
                  + b"0," * 150000 + b"0]}]}}]}]}]}")  # 300 KB of JSON, 1.2 MB of protobuf
    assert answer["http_status"] == 413 and json.loads(answer["body"])["code"] == 8
    assert post(box, relay, PATHS["traces"], b" " * (1 << 20) + b"{}")["http_status"] == 413
    assert relay.lane("traces")["accepted"] == 0
