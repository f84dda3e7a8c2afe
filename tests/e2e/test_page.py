# SPDX-License-Identifier: Apache-2.0
"""What the status page shows of a real relay, read as text; its script runs in Node on a document of its own."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from test_replay_past import command
from weirtest import wait_for

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def read(box, weir):
    page = box.file("page.html", weir.get("/")[2])
    done = subprocess.run(["node", Path(__file__).parent / "page_text.mjs", page], input=json.dumps(weir.status()), capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    assert "no answer" not in done.stdout and not {"undefined", "NaN", "null"} & set(done.stdout.split()), done.stdout
    return done.stdout


def test_what_a_person_has_to_know(box):
    sink, gone = box.sink(), box.sink()
    gone.listen(False)
    sink.listen(False)
    sink.mode(limit_bytes=600_000)
    weir = box.weir({"name": "up0", "endpoint": sink.url("grpc")}, {"name": "left", "endpoint": gone.url("grpc"), "signals": ["logs"]})
    box.gen(weir, signal="logs", items=2000, items_per_request=10, payload_bytes=20_000, in_flight=8)
    sink.listen(True)
    wait_for(lambda: weir.lane("logs", "up0")["pending"] == 0, 60, "one of them has it")
    shown = read(box, weir)
    assert "left does not take data now. 2,000 items wait" in shown and "requests of at most" in shown, shown
    assert shown.count("requests of at most") == 1, "of the logs alone"
    assert command(weir, "pause", "left").returncode == 0
    assert "Paused by command: its data waits. weir resume left lets it go on." in read(box, weir)
    command(weir, "drain", "--wait", "0s")
    assert "Draining by command: no data is taken, 2,000 items are left. Paused: left." in read(box, weir)
    command(weir, "drain", "--cancel")
    weir.terminate()
    weir.config["upstreams"] = weir.config["upstreams"][:1]
    weir.start()
    shown = read(box, weir)
    assert "Not configured any more" in shown and "weir discard NAME" in shown and "left | logs | 2,000 |" in shown, shown
    command(weir, "discard", "left", "--yes")
    shown = read(box, weir)
    assert "Not configured any more" not in shown and "Data is taken, made durable and delivered." in shown, shown
