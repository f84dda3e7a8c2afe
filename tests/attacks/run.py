#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attacks a real relay while honest senders are served, and says what each attack cost.

usage: run.py [--short] [--only NAME[,NAME…]] [--markdown]     WEIR_BUILD=build/address-undefined for a relay with sanitizers
"""

import argparse
import resource
import sys
import traceback

import bodies
import http1
import http2
import tls
from kit import Target, in_turn, under_attack

ROW = "{name:18} {mib:5.0f} MiB {cpu:6.1f} s CPU of {seconds:5.1f}   honest: {requests:5d} requests, {refused:3d} refused, worst {latency_ms:6.0f} ms   {sent}"
MARKDOWN = "| {name} | {sent} | {mib:.0f} | {cpu:.1f} of {seconds:.1f} | {refused} of {requests} | {latency_ms:.0f} |"


def run_all(target, over, attacks, args):
    failed = []
    for attack in attacks:
        try:
            row = under_attack(target, attack, not args.short)
            print((MARKDOWN if args.markdown else ROW).format(name=over + attack.__name__, **row), flush=True)
        except Exception as error:
            print(f"{attack.__name__}: FAILED: {error}", flush=True)
            if not isinstance(error, AssertionError):
                traceback.print_exc()
            failed.append(attack.__name__)
            if not target.weir.process.alive():
                break
    try:
        target.rest()
    except AssertionError as error:
        print(f"afterwards: FAILED: {error}", flush=True)
        failed.append("afterwards")
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 14_000), hard))
    only = args.only.split(",") if args.only else None
    failed, count = [], 0
    for name, config, attacks in (
        ("attacks", {}, http2.ATTACKS + http1.ATTACKS + bodies.ATTACKS),
        ("attacks-crowd", {"receiver": {"max_connections": 12000}}, http1.OWN_RELAY),
        ("attacks-tls", {"tls": True}, tls.ATTACKS + (http2.ATTACKS + http1.ATTACKS if not args.short else http2.ATTACKS[:4])),
    ):
        over = "tls:" if config.get("tls") else ""
        chosen = [a for a in attacks if only is None or over + a.__name__ in only]
        if not chosen:
            continue
        target = Target(name, **config)
        failed += run_all(target, over, [in_turn(chosen)] if args.short else chosen, args)
        count += len(chosen)
        failed += target.close()
    if count == 0:
        failed.append("no such attack")
    print(f"attacks: {count - len(failed)} withstood" + (f", FAILED: {'; '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
