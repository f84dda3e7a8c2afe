# SPDX-License-Identifier: Apache-2.0
"""What each order says to somebody who has never given it: with a wrong name, nobody there, a wrong token, twice, while drained, paused or
held. Each message names the object, the reason and what to do next, and the exit code is the one that is promised."""

import json
import subprocess

import pytest

from test_replay_past import command
from weirtest import BUILD, sanitizer_options, wait_for

DONE, FAILED, USAGE, NOT_IN_TIME = 0, 1, 2, 3
ORDERS = [
    ("drain", "--wait", "5s"), ("drain", "--cancel"), ("pause", "up0"), ("resume", "up0"), ("replay", "up0", "--since", "-1h"), ("discard", "up0"),
    ("deadletter", "list"), ("deadletter", "show", "1-0.up0"), ("deadletter", "redrive", "--all"), ("deadletter", "purge", "--all"),
]


def expect(weir, rows):
    """[(arguments, exit code, what is in stdout, what is in stderr)], one after the other."""
    for args, code, out, err in rows:
        done = command(weir, *args)
        assert done.returncode == code, (args, done)
        for text, words in ((done.stdout, out), (done.stderr, err)):
            assert all(word in text for word in ([words] if isinstance(words, str) else words)), (args, done)
            assert words or not text, (args, done)


def away(*args):
    return subprocess.run([BUILD / "weir", *args], capture_output=True, text=True, timeout=60, env=sanitizer_options())


def test_nobody_is_there(box):
    port, sink = box.port(), box.sink()
    weir = box.weir(sink.url("grpc"))
    for args in ORDERS:
        done = away(*args, "--admin", f"http://{port.address}")
        assert done.returncode == FAILED and done.stdout == "", done
        assert port.address in done.stderr and "is weir running" in done.stderr and "--admin URL" in done.stderr, done
        done = away(*args, "--admin", f"http://{weir.http}")  # another port of it
        assert done.returncode == FAILED and weir.http in done.stderr and "is this weir's admin port? (--admin URL)" in done.stderr, done


@pytest.mark.parametrize("args", ORDERS, ids="-".join)
def test_help_names_what_there_is(args):
    words = args[: 2 if args[0] == "deadletter" else 1]
    done = away(*words, "--help")
    assert done.returncode == DONE and f"Usage: weir {' '.join(words)} " in done.stdout and done.stderr == "", done
    assert all(option in done.stdout for option in ("--admin=URL", "--token-file=FILE", "--json")), done.stdout
    assert all(option in done.stdout for option in args if option.startswith("--"))


def test_wrong_words(box):
    weir = box.weir(box.sink().url("grpc"))
    known = "unknown upstream 'up': there are up0"
    gone = "there is no dead letter 1-0.up0: weir deadletter list has them"
    expect(weir, [
        (["pause", "up"], FAILED, "", known), (["resume", "up"], FAILED, "", known), (["replay", "up", "--since", "-1h"], FAILED, "", known),
        (["discard", "up"], FAILED, "", ["no lane of an upstream 'up'", "none"]),
        (["pause"], USAGE, "", "weir pause UPSTREAM (weir status lists them)"),
        (["discard"], USAGE, "", "weir discard UPSTREAM (weir status lists them)"),
        (["replay", "up0"], USAGE, "", "--since T [--until T], or --blocks A-B"),
        (["drain", "--wait", "x"], USAGE, "", ["--wait", "'x' is not a duration", "5s"]),
        (["deadletter", "--all"], USAGE, "", ["weir deadletter VERB", "redrive"]),
        (["deadletter", "purge"], USAGE, "", "weir deadletter purge ID..., or --all"),
        (["deadletter", "show", "x"], USAGE, "", ["'x'", "48213-17.central"]),
        (["deadletter", "list", "--upstream", "up"], DONE, "", "there are no dead letters of 'up'"),
        (["deadletter", "purge", "--all", "--signal", "logs"], DONE, "", "there are no dead letters with logs"),
        (["deadletter", "redrive", "--all", "--upstream", "up"], FAILED, "", ["'up' is not configured", "configured again"]),
        (["deadletter", "show", "1-0.up0"], FAILED, "", gone), (["deadletter", "purge", "1-0.up0"], FAILED, "", gone),
        (["deadletter", "redrive", "1-0.up0"], FAILED, "", gone),
    ])


def test_twice(box):
    sink = box.sink()
    weir = box.weir(sink.url("grpc"), config={"spool": {"keep_delivered": "1h"}})
    expect(weir, [
        (["deadletter", "list", "--json"], DONE, "", ""),
        (["pause", "up0"], DONE, ["up0 is paused", "weir resume up0"], ""), (["pause", "up0"], DONE, ["up0 was paused already", "weir resume up0"], ""),
        (["resume", "up0"], DONE, "up0 is not paused any more", ""), (["resume", "up0"], DONE, "up0 was not paused", ""),
    ])
    box.gen(weir, items=20)
    weir.wait_drained()
    again = (["replay", "up0", "--since", "-1h"], DONE, "20 items", "")
    expect(weir, [again])
    weir.wait_drained()
    expect(weir, [again])
    weir.wait_drained()
    for _ in range(2):
        done = command(weir, "drain", "--wait", "30s")
        assert done.returncode == DONE and "weir drain --cancel" in done.stdout, done
    expect(weir, [
        (["pause", "up0"], DONE, "up0 is paused", ""), (["resume", "up0"], DONE, "up0", ""),  # drained: there is nothing to warn of
        (["replay", "up0", "--since", "-1h"], DONE, "20 items", "weir drains: it comes to an end when this is delivered, too"),
        (["discard", "up0", "--yes"], FAILED, "", ["'up0' is configured", "taken out of the configuration first"]),
        (["drain", "--cancel"], DONE, "takes data again", ""), (["drain", "--cancel"], DONE, "nothing to take back", ""),
    ])


def test_while_paused_and_held(box):
    sink = box.sink()
    weir = box.weir(sink.url("grpc"), config={"spool": {"keep_delivered": "1h"}})
    box.gen(weir, items=20)
    weir.wait_drained()
    command(weir, "pause", "up0")
    box.gen(weir, items=20, first_id=20)
    expect(weir, [
        (["replay", "up0", "--since", "-1h"], DONE, "20 items", "'up0' does not take data now (paused: weir resume up0): what is added waits"),
        (["drain", "--wait", "0s"], NOT_IN_TIME, "", ["40 items are left", "paused: weir resume up0", "weir drain --cancel"]),
        (["pause", "up0"], DONE, "was paused already", "weir drains: it does not come to an end while data waits for 'up0'"),
        (["drain", "--cancel"], DONE, "takes data again", ""),
    ])
    sink.mode(status=16)
    command(weir, "resume", "up0")
    wait_for(lambda: weir.upstream()["state"] == "held", 30, "it is held")
    expect(weir, [
        (["drain", "--wait", "0s"], NOT_IN_TIME, "", ["'up0' refuses by a setting (UNAUTHENTICATED", "40 items", "weir drain --cancel"]),
        (["drain", "--cancel"], DONE, "takes data again", ""),
        (["resume", "up0"], DONE, "was not paused", ""),
    ])


def test_dead_letters_of_one_that_gets_nothing(box):
    sink = box.sink()
    sink.mode(signal="logs", status=3)
    weir = box.weir(sink.url("grpc"))
    box.gen(weir, signal="logs", items=3, items_per_request=1)

    def letters():
        return [json.loads(line) for line in command(weir, "deadletter", "list", "--json").stdout.splitlines()]

    wait_for(lambda: len(letters()) == 3 and not any(entry["settling"] for entry in letters()), 60, "they are kept")
    ids = [entry["id"] for entry in letters()]
    command(weir, "pause", "up0")
    waits = "wait: 'up0' does not take data now (paused: weir resume up0)"
    expect(weir, [
        (["deadletter", "redrive", ids[0]], DONE, "1 dead letter (1 item) will be sent again", f"1 dead letters of logs {waits}"),
        (["deadletter", "redrive", ids[0]], DONE, "1 dead letter (1 item) will be sent again", waits),
        (["deadletter", "redrive", "--all"], DONE, "will be sent again", f"3 dead letters of logs {waits}"),
        (["deadletter", "purge", ids[0]], DONE, "1 dead letter (1 item) is gone", ""),
        (["deadletter", "purge", *ids[:2]], FAILED, "1 dead letter (1 item) is gone", f"there is no dead letter {ids[0]}"),
        (["deadletter", "purge", "--all"], DONE, "1 dead letter (1 item) is gone", ""),
        (["deadletter", "purge", "--all"], DONE, "", "there are no dead letters"),
    ])
    weir.check_ledger()


def test_tokens(box):
    token, wrong = box.file("token", b"right\n"), box.file("wrong", b"wrong\n")
    weir = box.weir(box.sink().url("grpc"), config={"admin": {"token_file": str(token)}})
    for args in ORDERS:
        if args == ("deadletter", "list"):
            assert command(weir, *args).returncode == DONE, "without content, for everybody"
            continue
        done = command(weir, *args)
        assert done.returncode == FAILED and "needs the token of admin.token_file" in done.stderr and "--token-file FILE" in done.stderr, done
        done = command(weir, *args, "--token-file", wrong)
        assert done.returncode == FAILED and "this is not the token of admin.token_file" in done.stderr, done
    expect(weir, [
        (["pause", "up0", "--token-file", "/nowhere"], FAILED, "", ["--token-file: /nowhere", "No such file"]),
        (["pause", "up0", "--token-file", token], DONE, "up0 is paused", ""),
    ])
