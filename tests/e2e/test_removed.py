# SPDX-License-Identifier: Apache-2.0
"""What an upstream that left the configuration was still to get: shown everywhere, kept through everything, given up by one command alone,
also where that is killed half way."""

import os
import random
import subprocess
import time

import pytest

from test_orders import command, name_upstreams, ordered, orphans, post
from weirtest import BUILD, SANITIZER, sanitizer_options, scaled, wait_for

ITEMS = 300
SIGNALS = ("traces", "metrics", "logs")
SMALL = {"spool": {"segment_size": "1MiB", "max_size": "256MiB"}}


def tool(*args):
    return subprocess.run([str(a) for a in (BUILD / "weir", *args)], capture_output=True, text=True, timeout=120, env=sanitizer_options())


def removed(box, names, env=None):
    """A relay with data for upstreams that are not configured any more, and the sink of the one that is. Not running."""
    sink, gone = box.sink(), box.sink()
    gone.listen(False)
    weir = box.weir({"name": "stays", "endpoint": sink.url("grpc")}, *({"name": name, "endpoint": gone.url("grpc"), "signals": list(SIGNALS)} for name in names),
                    config=SMALL, env=env)
    for signal in SIGNALS:
        box.gen(weir, signal=signal, items=ITEMS, items_per_request=10, payload_bytes=5000, in_flight=4)
    wait_for(lambda: sink.ids("logs") == set(range(ITEMS)), 60, "the one that stays has it")
    weir.terminate()
    weir.config["upstreams"] = weir.config["upstreams"][:1]
    return weir, sink, gone


def left(weir):
    """Items that are still to be got, of lanes that add up."""
    for key, items in orphans(weir).items():
        parts = sum(items[k] for k in ("delivered", "pending", "dead_lettered", "evicted", "discarded"))
        assert items["accepted"] == parts == ITEMS, (key, items)
    return {key: items["pending"] for key, items in orphans(weir).items()}


def test_it_is_shown_and_kept_through_everything(box):
    weir, sink, _ = removed(box, ["gone"])
    everything = {("gone", signal): ITEMS for signal in SIGNALS}
    weir.config_file.write_text(weir.config_file.read_text().replace('"name": "gone"', '"name": "gonee"'))
    said = tool("check-config", "--config", weir.config_file)
    for signal in SIGNALS:
        assert f"the spool keeps {ITEMS} items ({signal}) for 'gone', which is not configured for them" in said.stderr, said
    assert said.returncode == 0 and said.stderr.count("weir discard gone") == len(SIGNALS), "a warning, no error"
    weir.start()
    for end in (weir.kill, weir.terminate):
        assert left(weir) == everything
        assert "weir discard gone" in command(weir, "status").stdout
        metrics = weir.get("/metrics")[2].decode()
        assert all(f'weir_orphan_pending_items{{upstream="gone",signal="{s}"}} {ITEMS}' in metrics for s in SIGNALS)
        assert b"Not configured any more" in weir.get("/")[2]
        assert tool("check-config", "--config", weir.config_file).stderr == "", "of a spool that is in use the status tells"
        # Whatever else is ordered.
        for args in (["pause", "gone"], ["resume", "gone"], ["replay", "gone", "--since", "-1h"], ["deadletter", "redrive", "--all", "--upstream", "gone"]):
            done = command(weir, *args)
            assert done.returncode == 1 and "'gone'" in done.stderr, done
        assert "weir discard gone" in command(weir, "pause", "gone").stderr
        command(weir, "deadletter", "purge", "--all")
        command(weir, "discard", "gone")
        assert command(weir, "drain", "--wait", "30s").returncode == 0
        command(weir, "drain", "--cancel")
        box.gen(weir, items=10, first_id=ITEMS)
        weir.wait_drained()
        end()
        weir.start()
    assert left(weir) == everything
    assert ordered(weir, "discard", "gone", "--yes")["items"] == len(SIGNALS) * ITEMS
    weir.restart()
    assert left(weir) == {key: 0 for key in everything}
    assert "gone" not in command(weir, "status").stdout
    weir.check_ledger()


@pytest.mark.skipif(SANITIZER == "tsan", reason="TSan's runtime does not start behind another preloaded library")
def test_killed_while_it_is_given_up(box):
    """kill -9 at random moments of a discard on a slow disk: each lane is given up or not, and the ledger adds up; said again, it is done."""
    seed = int(os.environ.get("WEIR_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
    box.note(f"WEIR_TEST_SEED={seed}")
    chance = random.Random(seed)
    names = [f"gone{i}" for i in range(max(4, scaled(12)))]
    knob = box.file("fdatasync_ms", b"0")
    env = {"LD_PRELOAD": str(BUILD / "tests" / "slow_fdatasync.so"), "WEIR_TEST_FDATASYNC_MS_FILE": str(knob)}
    weir, sink, gone = removed(box, names, env)
    weir.start()
    assert left(weir) == {(name, signal): ITEMS for name in names for signal in SIGNALS}
    halfway = 0
    knob.write_bytes(b"10")
    for name in names:
        argv = [str(BUILD / "weir"), "discard", name, "--yes", "--admin", f"http://{weir.admin}"]
        order = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=sanitizer_options())
        wait_for(lambda: order.poll() is not None or any(e.get("event") == "lane_discarded" for e in weir.events()) or chance.random() < 0.2, 30, "a moment")
        time.sleep(chance.uniform(0, 0.02))  # the random moment itself, not a wait for something
        weir.kill()
        acknowledged = order.wait(30) == 0
        weir.start()
        after = [left(weir)[name, signal] for signal in SIGNALS]
        assert all(pending in (0, ITEMS) for pending in after), after
        assert not acknowledged or after == [0] * len(SIGNALS), "what was acknowledged holds"
        halfway += 0 < sum(after) < len(SIGNALS) * ITEMS
        assert all(left(weir)[other, signal] == ITEMS for other in names[names.index(name) + 1 :] for signal in SIGNALS), "no other one"
        assert post(weir, f"/v1/upstreams/{name}/discard")[1]["items"] == sum(after)
        assert [left(weir)[name, signal] for signal in SIGNALS] == [0] * len(SIGNALS)
    box.note(f"{halfway} of {len(names)} were found half given up")
    knob.write_bytes(b"0")
    assert weir.terminate() == 0
    found = tool("spool", "verify", weir.spool)
    assert found.returncode == 0, found.stdout + found.stderr
    # One that comes back has nothing of it, and goes on with its ledger.
    gone.listen(True)
    name_upstreams(weir, ("stays", sink.url("grpc")), (names[0], gone.url("grpc")))
    weir.start()
    box.gen(weir, signal="logs", items=10, first_id=ITEMS)
    weir.wait_drained()
    assert gone.ids("logs") == set(range(ITEMS, ITEMS + 10)) and gone.ids("traces") == set()
    items = weir.check_ledger()[names[0]]["logs"]
    assert (items["discarded"], items["delivered"]) == (ITEMS, 10), items
