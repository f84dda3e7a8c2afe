#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make k8s-check: renders k8s/base and checks it as far as the machine has the tools, and says what it could not check.

Every check is proven by broken.yaml: manifests with one fault each, which it must find.
  usage: check.py BUILD_DIR [--no-image]      exit 1 when anything is wrong
"""
import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

import alerts
import image
import manifest_lint as lint

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


class Report:
    def __init__(self):
        self.counts = {"ok": 0, "FAILED": 0, "not checked": 0}

    def line(self, word, text):
        self.counts[word] += 1
        print("  %-12s %s" % (word + ":" if word != "ok" else word, text), flush=True)

    def findings(self, what, found):
        if not found:
            self.line("ok", what)
        for text in found:
            self.line("FAILED", "%s: %s" % (what, text))


def run(*command, **options):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)


def render(base):
    """The rendered documents, and by which tool; (None, None) without one."""
    for command in (["kustomize", "build"], ["kubectl", "kustomize"]):
        if shutil.which(command[0]):
            done = run(*command, base)
            if done.returncode != 0:
                sys.exit("k8s-check: %s: %s" % (" ".join(command), done.stderr.strip()))
            return [d for d in yaml.safe_load_all(done.stdout) if d], " ".join(command)
    return None, None


def assemble(base):
    """What kustomize would make of our base, for machines without it: the resources, the ConfigMap, the images."""
    kustomization = yaml.safe_load((base / "kustomization.yaml").read_text())
    docs = [d for name in kustomization["resources"] for d in yaml.safe_load_all((base / name).read_text()) if d]
    for generator in kustomization["configMapGenerator"]:
        data = {name: (base / name).read_text() for name in generator["files"]}
        docs.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data})
    images = {i["name"]: "%s:%s" % (i["newName"], i["newTag"]) for i in kustomization["images"]}
    for _, _, container in lint.Manifests(docs).containers():
        container["image"] = images.get(container["image"], container["image"])
    return docs


def admin_routes():
    """The paths that relay's sources name as whole string literals."""
    text = "".join(p.read_text() for p in sorted((ROOT / "relay").glob("*.c")))
    return frozenset(re.findall(r'"(/[a-z0-9/]*)"', text))


def break_one(docs, case):
    """A copy of the documents with the case's fault."""
    docs = copy.deepcopy(docs)
    kind, name = case["object"].split("/")
    node = next(d for d in docs if d["kind"] == kind and re.fullmatch(name + "(-[a-z0-9]{10})?", d["metadata"]["name"]))
    keys = [int(k) if k.isdigit() else k for k in case["path"].split("/")]
    for key in keys[:-1]:
        node = node[key]
    if "value" in case:
        node[keys[-1]] = case["value"]
    else:
        del node[keys[-1]]
    return docs


def check_rules(report, docs, cases, routes, weir, by, rules):
    for rule in rules:
        report.findings(rule.__name__.replace("_", " "), list(rule(lint.Manifests(docs, routes, weir))))
    missed = []
    for case in cases:
        broken = lint.Manifests(break_one(docs, case), routes, weir)
        found = [text for rule in rules for text in rule(broken)]
        if not any(re.search(case["says"], text) for text in found):
            missed.append("%s: not found; said %s" % (case["name"], found or "nothing"))
    report.findings("%d broken manifests are found (%s)" % (len(cases), by), missed)


def install_models(out):
    """npm's models beside a copy of schema.mjs; why not, or None."""
    if not shutil.which("npm") or not shutil.which("node"):
        return "no npm"
    done = run("node", "-p", "process.versions.node")
    if int(done.stdout.split(".")[0]) < 20:
        return "node %s, needs 20" % done.stdout.strip()
    names = ("package.json", "package-lock.json")
    fresh = (out / "node_modules").is_dir() and all(
        (out / n).is_file() and (out / n).read_bytes() == (HERE / n).read_bytes() for n in names)
    shutil.copy(HERE / "schema.mjs", out)
    if fresh:
        return None
    for name in names:
        shutil.copy(HERE / name, out)
    done = run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", cwd=out)
    if done.returncode != 0:
        shutil.rmtree(out / "node_modules", ignore_errors=True)
        return "npm ci failed: " + (done.stderr.strip().splitlines() or ["no message"])[-1]
    return None


def check_schema(report, docs, cases, out):
    why = install_models(out)
    if why:
        report.line("not checked", "fields and types against the Kubernetes API's models (%s)" % why)
        return
    sets = {"rendered": docs, **{c["name"]: break_one(docs, c) for c in cases}}
    for name, objects in sets.items():
        (out / (name + ".json")).write_text(json.dumps(objects))
    done = run("node", out / "schema.mjs", *[out / (name + ".json") for name in sets])
    said = done.stdout.splitlines()
    if done.returncode not in (0, 1) or done.stderr.strip():
        report.line("FAILED", "schema.mjs: %s" % done.stderr.strip())
        return
    report.findings("every field exists at its place and has its type (Kubernetes 1.36 models)",
                    [line for line in said if line.startswith("rendered.json: ")])
    missed = ["%s: not found" % c["name"] for c in cases
              if not any(line.startswith(c["name"] + ".json: ") and re.search(c["says"], line) for line in said)]
    report.findings("%d broken manifests are found (schema)" % len(cases), missed)


def check_image(report, wanted):
    if not wanted:
        report.line("not checked", "image build (--no-image)")
        return
    try:
        base = image.base(ROOT)
    except image.Unavailable as why:
        report.line("not checked", "image build (%s)" % why)
        return
    faults = image.build(ROOT, base)
    report.findings("the image builds (buildah, on %s)" % base, faults)
    for what, found in image.look_inside() if not faults else ():
        report.findings(what, found)
    image.remove()


def check_alerts(report, out):
    text = alerts.read(ROOT)
    report.findings("weir has every metric and label value in k8s/alerts", alerts.unknown(ROOT, text))
    report.findings("a metric that weir does not have is found", [] if alerts.unknown(ROOT, text + "weir_nonsense") else ["not found"])
    tool = alerts.promtool(ROOT)
    if not tool:
        report.line("not checked", "when the alerts fire (no promtool: tests/interop/run.sh fetch)")
        return
    report.findings("the alerts fire when they should (promtool)", alerts.tried(tool, HERE, out, text))
    report.findings("%d broken alerts are found (promtool)" % len(alerts.FAULTS), alerts.missed(tool, HERE, out, text))


def main():
    build = Path(sys.argv[1]).resolve()
    out = build / "k8s"
    out.mkdir(parents=True, exist_ok=True)
    report = Report()
    docs, tool = render(ROOT / "k8s/base")
    if docs:
        report.line("ok", "%s renders k8s/base: %d objects" % (tool, len(docs)))
    else:
        report.line("not checked", "rendering (no kustomize, no kubectl); what follows is read from the files of k8s/base")
        docs = assemble(ROOT / "k8s/base")
    cases = yaml.safe_load((HERE / "broken.yaml").read_text())

    def by(word):
        return [c for c in cases if c["by"] == word]

    routes = admin_routes()
    check_rules(report, docs, by("lint"), routes, None, "lint", lint.RULES)
    weir = build / "weir"
    if weir.exists():
        check_rules(report, docs, by("weir"), routes, weir, "weir", lint.WEIR_RULES)
    else:
        report.line("not checked", "configuration text and flags (%s is not built)" % weir)
    check_schema(report, docs, by("schema"), out)
    check_alerts(report, out / "alerts")
    check_image(report, "--no-image" not in sys.argv)
    report.line("not checked", "that a cluster takes it (admission, scheduling, the CSI driver): that needs one")
    print("k8s-check: %(ok)d ok, %(FAILED)d failed, %(not checked)d not checked" % report.counts)
    return 1 if report.counts["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
