# SPDX-License-Identifier: Apache-2.0
"""OTLP/HTTP through a proxy that the environment names, as every HTTP client takes it; and past a captive portal."""

import http.client
import http.server
import threading

import pytest

from weirtest import wait_for

HOST = "collector.test"  # no such host: without the proxy it is not found


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):  # to a URL with scheme and host
        self.server.seen.append((self.command, self.path, self.headers.get("Host")))
        prefix = f"http://{HOST}:4318"
        assert self.path.startswith(prefix + "/"), self.path
        body = self.rfile.read(int(self.headers["Content-Length"]))
        onward = http.client.HTTPConnection(self.server.sink)
        headers = {k: v for k, v in self.headers.items() if not k.lower().startswith("proxy-")}
        onward.request("POST", self.path[len(prefix):], body, headers)
        answer = onward.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.getheader("Content-Type"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        onward.close()

    def do_CONNECT(self):
        self.server.seen.append((self.command, self.path, self.headers.get("Authorization")))
        self.send_response(407)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def proxy(box):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.seen = []
    server.sink = None
    server.url = "http://127.0.0.1:%d" % server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    box.closers += [server.shutdown, server.server_close]
    return server


CLEAN = {name: "" for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")}


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_exports_go_through_the_proxy(box, proxy, variable):
    sink = box.sink()
    proxy.sink = sink.http
    weir = box.weir(f"http://{HOST}:4318", env={**CLEAN, variable: proxy.url})
    box.gen(weir, items=50)
    weir.wait_drained()
    assert sink.ids("traces") == set(range(50))
    assert {(c, p, h) for c, p, h in proxy.seen} == {("POST", f"http://{HOST}:4318/v1/traces", f"{HOST}:4318")}


def test_no_proxy_and_loopback_go_straight(box, proxy):
    sink = box.sink()
    weir = box.weir(sink.url("http"), f"http://{HOST}:4318", env={**CLEAN, "http_proxy": proxy.url, "NO_PROXY": f"other.test,{HOST}"})
    box.gen(weir, items=10)
    wait_for(lambda: weir.lane("traces", "up0")["pending"] == 0 and weir.last_error("up1"), 30, weir.status)
    assert weir.last_error("up1")["code"] == "resolve"
    assert sink.ids("traces") == set(range(10)) and proxy.seen == []


def test_grpc_takes_no_proxy(box, proxy):
    weir = box.weir(f"grpc://{HOST}:4317", env={**CLEAN, "http_proxy": proxy.url, "HTTPS_PROXY": proxy.url})
    box.gen(weir, items=10)
    error = wait_for(weir.last_error, 30, "an error")
    assert error["code"] == "resolve" and proxy.seen == []


def test_a_proxy_that_refuses_the_tunnel_keeps_the_data(box, proxy):
    """Headers for the upstream, secrets among them, are not for the proxy."""
    weir = box.weir({"name": "up0", "endpoint": f"https://{HOST}", "headers": {"authorization": "Bearer secret"}},
                    env={**CLEAN, "HTTPS_PROXY": proxy.url})
    box.gen(weir, items=10)
    error = wait_for(weir.last_error, 30, "an error")
    assert "407" in error["message"], error
    assert proxy.seen[0] == ("CONNECT", f"{HOST}:443", None)
    lane = weir.lane("traces")
    assert (lane["pending"], lane["dead_lettered"]) == (10, 0)


class Portal(http.server.BaseHTTPRequestHandler):
    """Says 200 to everything: with its page until somebody has logged in, then as Prometheus does, without a word."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        page = b"" if self.server.open else b"<!DOCTYPE html><html><title>Welcome</title></html>"
        if self.server.open:
            self.server.seen.append(body)
        self.send_response(200)
        if page:
            self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *args):
        pass


def test_a_captive_portal_swallows_nothing(box):
    """U7: a 2xx whose body is none of OTLP's is an acceptance, but a page for people is not."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    server.daemon_threads, server.open, server.seen = True, False, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    box.closers += [server.shutdown, server.server_close]
    endpoint = "http://127.0.0.1:%d" % server.server_port
    weir = box.weir({"name": "up0", "endpoint": endpoint, "retry": {"initial": "20ms", "max": "50ms"}})
    box.gen(weir, items=10)
    wait_for(lambda: weir.upstream()["state"] == "held", 30, weir.upstream)
    error = weir.last_error()
    assert error["code"] == "HTTP 200" and "captive portal" in error["message"], error
    assert weir.lane("traces")["pending"] == 10
    server.open = True
    weir.wait_drained()
    assert weir.lane("traces")["delivered"] == 10 and server.seen
