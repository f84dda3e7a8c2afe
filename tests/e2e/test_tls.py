# SPDX-License-Identifier: Apache-2.0
"""TLS, mutual TLS and tokens between the real binaries, and their rotation while data flows."""

import http.client
import json
import os
import signal
import ssl
import subprocess

import pytest

from weirtest import BUILD, SIGNALS, TRANSPORTS, probe, scaled, wait_for

TOKENS = ["s3cret-one-4711", "s3cret-two-4712", "s3cret-three-4713"]
P256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Pki:
    """A directory of certificates by the openssl command: NAME.crt, NAME.key."""

    def __init__(self, box):
        self.dir = box.directory / "pki"
        self.dir.mkdir()
        self.ca("ca")
        self.ca("other-ca")
        self.cert("server", san="DNS:localhost,IP:127.0.0.1")
        self.cert("client", san="DNS:client")

    def openssl(self, *args):
        subprocess.run(["openssl", *[str(a) for a in args]], cwd=self.dir, check=True, capture_output=True)

    def ca(self, name):
        self.openssl("req", "-x509", *P256, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}", "-days", 30)

    def cert(self, name, san, ca="ca", cn=None, days=30):
        (self.dir / f"{name}.ext").write_text(f"subjectAltName={san}\n")
        self.openssl("req", *P256, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={cn or name}")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.crt", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", days,
                     "-extfile", f"{name}.ext", "-out", f"{name}.crt")

    def path(self, file):
        return str(self.dir / file)

    def pair(self, name):
        return {"cert_file": self.path(f"{name}.crt"), "key_file": self.path(f"{name}.key")}

    def gen(self, **options):
        """weir-gen's options for mutual TLS."""
        return {"tls_ca": self.path("ca.crt"), "tls_cert": self.path("client.crt"), "tls_key": self.path("client.key"), **options}


class Secret:
    """Files as Kubernetes mounts them: NAME -> ..data/NAME, ..data -> ..N; a change is one rename of the link."""

    def __init__(self, directory):
        self.dir, self.version = directory, 0
        directory.mkdir()

    def put(self, **files):
        self.version += 1
        target = self.dir / f"..{self.version}"
        target.mkdir()
        for name, content in files.items():
            name = name.replace("_", ".")
            (target / name).write_bytes(content if isinstance(content, bytes) else content.encode())
            os.utime(target / name, (1, 1))  # no help from the times
            if not (self.dir / name).is_symlink():
                (self.dir / name).symlink_to(f"..data/{name}")
        os.symlink(f"..{self.version}", self.dir / "..new")
        os.rename(self.dir / "..new", self.dir / "..data")

    def put_pair(self, pki, name):
        self.put(tls_crt=(pki.dir / f"{name}.crt").read_bytes(), tls_key=(pki.dir / f"{name}.key").read_bytes())

    def pair(self):
        return {"cert_file": str(self.dir / "tls.crt"), "key_file": str(self.dir / "tls.key")}


@pytest.fixture
def pki(box):
    return Pki(box)


def receiver(tls, **auth):
    config = {"grpc": {"tls": tls}, "http": {"tls": tls}}
    return {"receiver": {**config, "auth": auth} if auth else config}


def upstream(address, transport, tls=None, **more):
    scheme = {"grpc": "grpcs" if tls is not None else "grpc", "http": "https" if tls is not None else "http"}[transport]
    return {"name": "up0", "endpoint": f"{scheme}://{address}", **({"tls": tls} if tls else {}), **more}


def served_cn(address, pki, alpn="http/1.1"):
    """The common name of the certificate that a new handshake is shown."""
    context = ssl.create_default_context(cafile=pki.path("ca.crt"))
    context.load_cert_chain(pki.path("client.crt"), pki.path("client.key"))
    context.set_alpn_protocols([alpn])
    host, port = address.rsplit(":", 1)
    with context.wrap_socket(__import__("socket").create_connection((host, int(port)), 10), server_hostname="localhost") as s:
        return dict(pair[0] for pair in s.getpeercert()["subject"])["commonName"]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_from_end_to_end_over_mutual_tls(box, pki, transport, host, version):
    """gen -> weir -> weir -> sink, each hop with both certificates, by name and by address, under TLS 1.2 and 1.3."""
    ca, both = pki.path("ca.crt"), dict(pki.pair("server"), client_ca_file=pki.path("ca.crt"), min_version=version)
    sink = box.sink(arguments=["--tls-cert", both["cert_file"], "--tls-key", both["key_file"], "--tls-client-ca", ca, "--tls-min", version])
    mine = {"ca_file": ca, **pki.pair("client")}
    second = box.weir(upstream(sink.address(transport), transport, mine), config=receiver(both))
    port = second.address(transport).rsplit(":", 1)[1]
    first = box.weir(upstream(f"{host}:{port}", transport, mine), config=receiver(both))
    for name in SIGNALS:
        box.gen(first, transport, signal=name, items=scaled(2000), **pki.gen(tls_min=version))
    first.wait_drained()
    second.wait_drained()
    for name in SIGNALS:
        assert sink.ids(name) == set(range(scaled(2000)))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_who_cannot_be_trusted_gets_nothing(box, pki, transport):
    sink = box.sink()
    tls = dict(pki.pair("server"), client_ca_file=pki.path("ca.crt"))
    weir = box.weir(sink.url(transport), config=receiver(tls))
    pki.cert("stranger", san="DNS:stranger", ca="other-ca")
    stranger = {"tls_cert": pki.path("stranger.crt"), "tls_key": pki.path("stranger.key")}
    for options in (pki.gen(tls_name="other.test"), pki.gen(tls_ca=pki.path("other-ca.crt")), {"tls_ca": pki.path("ca.crt")},
                    pki.gen(**stranger), {}):
        result = box.gen(weir, transport, items=1, expect_all=False, **options)
        assert result["acked_items"] == 0, options
    box.gen(weir, transport, items=1, **pki.gen())
    # As an upstream: what it shows must be the endpoint's, of our authority.
    pki.cert("elsewhere", san="DNS:elsewhere.test")
    for name, ca in (("elsewhere", "ca"), ("server", "other-ca")):
        peer = box.sink(arguments=["--tls-cert", pki.path(f"{name}.crt"), "--tls-key", pki.path(f"{name}.key")])
        relay = box.weir(upstream(peer.address(transport), transport, {"ca_file": pki.path(f"{ca}.crt")}))
        box.gen(relay, transport, items=5)
        error = wait_for(relay.last_error, 30, "an error")
        assert error["code"] == "tls" and relay.lane("traces")["pending"] == 5 and not peer.ids("traces")


def test_certificates_rotate_under_load(box, pki):
    """Both hops' certificates are swapped again and again while new connections keep coming: not one export fails."""
    server, client = Secret(box.directory / "server"), Secret(box.directory / "client")
    for i in range(6):
        pki.cert(f"server{i}", san="DNS:localhost,IP:127.0.0.1")
        pki.cert(f"client{i}", san="DNS:client")
    server.put_pair(pki, "server0")
    client.put_pair(pki, "client0")
    tls = dict(server.pair(), client_ca_file=pki.path("ca.crt"), reload_interval="100ms")
    sink = box.sink()
    second = box.weir(sink.url("grpc"), config=receiver(tls))
    first = box.weir(upstream(second.grpc, "grpc", {"ca_file": pki.path("ca.crt"), **client.pair()}), config=receiver(tls))
    # One connection lives through it all, in both directions; others come and go.
    steady = box.gen_start(first, "grpc", items=0, rate=2000, deadline_ms=120000, stream="steady", signal="logs", **pki.gen())
    count, items = 0, scaled(500)
    for i in range(1, 6):
        server.put_pair(pki, f"server{i}")
        client.put_pair(pki, f"client{i}")
        first.process.signal(signal.SIGHUP)  # upstreams' files at once; listeners have their interval
        for transport in TRANSPORTS:
            box.gen(first, transport, items=items, first_id=count, connections=4, **pki.gen())
            count += items
        wait_for(lambda: served_cn(first.http, pki) == f"server{i}" and served_cn(second.grpc, pki, "h2") == f"server{i}", 20, "the new one is served")
        wait_for(lambda: any(e["event"] == "certificate_changed" and e["owner"].startswith("upstream") for e in first.events()), 20, "the client's")
    result = steady.stop()
    assert result["failed_items"] == 0 and result["retries"] == 0 and not result["refused"], result
    first.wait_drained()
    second.wait_drained()
    assert sink.ids("traces") == set(range(count)) and sink.ids("logs") == set(range(result["acked_items"]))
    for weir in (first, second):
        assert not [e for e in weir.events() if e["event"] in ("export_failed", "certificate_refused", "tls_handshake_failed")]
        assert weir.upstream()["last_error"]["code"] is None


def test_a_bad_new_file_keeps_the_last_one(box, pki):
    server = Secret(box.directory / "server")
    server.put_pair(pki, "server")
    tls = dict(server.pair(), reload_interval="100ms")
    sink = box.sink()
    weir = box.weir(sink.url("grpc"), config=receiver(tls))
    key = (pki.dir / "server.key").read_text()
    crt = (pki.dir / "server.crt").read_text()
    bad = [dict(tls_crt="no PEM", tls_key=key), dict(tls_crt=crt, tls_key=(pki.dir / "client.key").read_text()),
           dict(tls_crt=crt[: len(crt) // 2], tls_key=key), dict(tls_crt=crt, tls_key="")]
    for i, files in enumerate(bad):
        server.put(**files)
        told = wait_for(lambda: weir.status()["receiver"]["tls"]["grpc"]["error"], 20, "told")
        assert "tls.crt" in told or "tls.key" in told, told
        box.gen(weir, "grpc", items=10, first_id=i * 10, tls_ca=pki.path("ca.crt"))
        lines = [e for e in weir.events() if e["event"] == "certificate_refused" and e["owner"] == "receiver.grpc"]
        assert len(lines) == i + 1, "once each"
        server.put_pair(pki, "server")
        wait_for(lambda: weir.status()["receiver"]["tls"]["grpc"]["error"] is None, 20, "well again")
    # One that has expired is used and told: the operator asked for it.
    pki.cert("old", san="DNS:localhost", days=-1)
    server.put_pair(pki, "old")
    wait_for(lambda: any(e["event"] == "certificate_expires" and "has expired" in e["message"] for e in weir.events()), 20, "told")
    assert weir.status()["receiver"]["tls"]["grpc"]["expires_in_seconds"] < 0
    metrics = weir.get("/metrics")[2].decode()
    assert 'weir_certificate_expiry_timestamp_seconds{role="listener",name="receiver.grpc"}' in metrics


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_tokens_let_senders_in(box, pki, transport):
    """E10, G44, P24: no or a wrong token is refused before anything else is looked at; several hold while they are rotated."""
    file = box.file("tokens", (TOKENS[0] + "\n").encode())
    sink = box.sink()
    weir = box.weir(sink.url(transport), config={"receiver": {"auth": {"bearer_token_file": str(file)}}})
    path = "/v1/traces" if transport == "http" else "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    for bad in (None, "Bearer " + TOKENS[1], "Basic abc", "Bearer"):
        for where in (path, "/nowhere"):
            answer = probe(weir.address(transport), transport, where, b"", box=box, **({"header": f"authorization:{bad}"} if bad else {}))
            if transport == "grpc":
                assert {**answer["headers"], **answer["trailers"]}["grpc-status"] == "16", answer
            else:
                assert answer["http_status"] == 401 and answer["headers"]["www-authenticate"] == "Bearer", answer
    def gen(token, first, **more):
        return box.gen(weir, transport, items=10, first_id=first, header=f"authorization:Bearer {token}", **more)

    gen(TOKENS[0], 0)
    file.write_text("\n".join(TOKENS[:2]))
    weir.process.signal(signal.SIGHUP)
    wait_for(lambda: weir.event("token_file"), 20, "the file is read again")
    gen(TOKENS[0], 10)
    gen(TOKENS[1], 20)
    offset = len(weir.process.log())
    file.write_text(TOKENS[1])
    weir.process.signal(signal.SIGHUP)
    wait_for(lambda: weir.event("token_file", offset), 20, "the file is read again")
    assert gen(TOKENS[0], 30, expect_all=False)["acked_items"] == 0
    gen(TOKENS[1], 30)
    weir.wait_drained()
    assert sink.ids("traces") == set(range(40))
    no_secret_is_told(box, weir)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_tokens_for_upstreams_are_read_again(box, pki, transport):
    """The upstream changes its token: data is held, not lost, and goes on as soon as our file has the new one."""
    accepted, shown = box.file("accepted", TOKENS[0].encode()), box.file("shown", TOKENS[0].encode())
    sink = box.sink()
    second = box.weir(sink.url("grpc"), config={"receiver": {"auth": {"bearer_token_file": str(accepted)}}})
    first = box.weir(upstream(second.address(transport), transport, bearer_token_file=str(shown)))
    box.gen(first, items=50)
    first.wait_drained()
    accepted.write_text(TOKENS[1])
    second.process.signal(signal.SIGHUP)
    wait_for(lambda: second.event("token_file"), 20, "the file is read again")
    box.gen(first, items=50, first_id=50)
    wait_for(lambda: first.upstream()["state"] == "held", 20, "held")
    assert first.lane("traces")["pending"] == 50 and "401" in first.upstream()["lanes"]["traces"]["last_error"]["code"] or transport == "grpc"
    shown.write_text("two words")
    first.process.signal(signal.SIGHUP)
    wait_for(lambda: first.upstream()["token_error"], 20, "told")
    shown.write_text(TOKENS[1])  # no signal: it is looked at soon after a refusal, and every ten seconds
    first.wait_drained()
    second.wait_drained()
    assert sink.ids("traces") == set(range(100))
    no_secret_is_told(box, first)
    no_secret_is_told(box, second)


def no_secret_is_told(box, weir):
    """Over all outputs: the log, status, metrics, print-config, what the commands print."""
    printed = subprocess.run([BUILD / "weir", "print-config", "--config", weir.config_file], capture_output=True, check=True).stdout
    status = subprocess.run([BUILD / "weir", "status", "--admin", f"http://{weir.admin}"], capture_output=True, check=True).stdout
    for name, text in {"log": weir.process.log(), "status": json.dumps(weir.status()), "metrics": weir.get("/metrics")[2].decode(),
                       "print-config": printed.decode(), "weir status": status.decode()}.items():
        assert "s3cret" not in text, (name, [line for line in text.splitlines() if "s3cret" in line])
        assert "PRIVATE KEY" not in text, name
    stored = b"".join(path.read_bytes() for path in weir.spool.rglob("*") if path.is_file())
    assert b"s3cret" not in stored


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_request_in_one_segment_with_the_last_of_the_handshake(box, pki, version):
    sink = box.sink()
    weir = box.weir(sink.url("grpc"), config={"admin": {"tls": pki.pair("server")}})
    context = ssl.create_default_context(cafile=pki.path("ca.crt"))
    context.minimum_version = context.maximum_version = version
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(came, goes, server_hostname="localhost")
    host, port = weir.admin.rsplit(":", 1)
    with __import__("socket").create_connection((host, int(port)), 10) as peer:

        def until_done(step):
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    peer.sendall(goes.read())
                    came.write(peer.recv(65536))

        until_done(tls.do_handshake)
        tls.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert until_done(lambda: tls.read(1000)).startswith(b"HTTP/1.1 200")


def test_the_admin_port_over_tls(box, pki):
    sink = box.sink()
    weir = box.weir(sink.url("grpc"), config={"admin": {"tls": dict(pki.pair("server"), reload_interval="100ms")}})
    port = weir.admin.rsplit(":", 1)[1]

    def ask(*more, host="localhost"):
        return subprocess.run([BUILD / "weir", "status", "--admin", f"https://{host}:{port}", *more], capture_output=True, text=True)

    good = ask("--ca-file", pki.path("ca.crt"), "--json")
    assert good.returncode == 0 and json.loads(good.stdout)["admin"]["tls"]["error"] is None, good.stderr
    assert ask("--ca-file", pki.path("other-ca.crt")).returncode == 1 and ask().returncode == 1
    context = ssl.create_default_context(cafile=pki.path("ca.crt"))
    keep = http.client.HTTPSConnection("localhost", int(port), context=context, timeout=20)
    for i in range(3):  # a kept connection lives through a change
        keep.request("GET", "/healthz")
        answer = keep.getresponse()
        assert answer.status == 200 and answer.read() == b"ok\n"
        pki.cert("server", san="DNS:localhost", cn=f"admin{i}")
        wait_for(lambda: served_cn(weir.admin, pki) == f"admin{i}", 20, "the new one is served")


def test_sighup_reads_the_log_level(box):
    sink = box.sink()
    weir = box.weir(sink.url("grpc"))
    box.gen(weir, items=1)
    weir.config["log"]["level"] = "debug"
    weir.config["receiver"]["max_connections"] = 77
    weir.config_file.write_text(json.dumps(weir.config))
    weir.process.signal(signal.SIGHUP)
    event = wait_for(lambda: weir.event("reloaded"), 20, "read again")
    assert event["level"] == "debug" and "restart" in event["message"]
    weir.config_file.write_text("log: {level: loud}")
    weir.process.signal(signal.SIGHUP)
    assert "level" in wait_for(lambda: weir.event("reload_failed"), 20, "told")["error"]
    box.gen(weir, items=1, first_id=1)


def test_check_config_opens_the_files(box, pki):
    box.file("tokens", b"two words\n")
    box.file("w.yaml", f"""receiver:
  grpc: {{tls: {{cert_file: {pki.path('server.crt')}, key_file: {pki.path('client.key')}}}}}
  http: {{tls: {{cert_file: /nowhere/a.crt, key_file: {pki.path('server.key')}}}}}
  auth: {{bearer_token_file: {box.directory}/tokens}}
upstreams:
  - name: a
    endpoint: grpcs://localhost:4317
    bearer_token_file: /nowhere/token
    tls: {{ca_file: {pki.path('server.key')}}}
""".encode())
    out = subprocess.run([BUILD / "weir", "check-config", "--config", "w.yaml"], cwd=box.directory, capture_output=True, text=True)
    lines = out.stderr.splitlines()
    assert out.returncode == 1 and len(lines) == 5, out.stderr
    for line, (start, end) in zip(lines, [
            ("w.yaml:2:", "client.key: key values mismatch"), ("w.yaml:3:", "/nowhere/a.crt: No such file or directory"),
            ("w.yaml:4:", "one word of printable characters"), ("w.yaml:9:", "server.key: holds no certificate"),
            ("w.yaml:8:", "/nowhere/token: No such file or directory")]):
        assert line.startswith(start) and line.endswith(end), (line, start, end)


def test_check_config_warns_of_certificates(box, pki):
    """It is sound all the same: the operator may mean it."""
    pki.cert("old", san="DNS:localhost", days=-1)
    box.file("w.yaml", f"""receiver:
  grpc: {{tls: {{cert_file: {pki.path('old.crt')}, key_file: {pki.path('old.key')}}}}}
  http: {{tls: {{cert_file: {pki.path('server.crt')}, key_file: {pki.path('server.key')}}}}}
upstreams: [{{name: a, endpoint: "grpcs://localhost:4317", tls: {{cert_file: {pki.path('old.crt')}, key_file: {pki.path('old.key')}}}}}]
""".encode())
    out = subprocess.run([BUILD / "weir", "check-config", "--config", "w.yaml"], cwd=box.directory, capture_output=True, text=True)
    lines = out.stderr.splitlines()
    assert out.returncode == 0 and len(lines) == 2, out
    assert lines[0].startswith("w.yaml: receiver.grpc.tls.cert_file: warning: the certificate has expired"), lines
    assert lines[1].startswith("w.yaml: upstreams[].tls.cert_file: warning: the certificate has expired") and lines[1].endswith("(upstream a)")
