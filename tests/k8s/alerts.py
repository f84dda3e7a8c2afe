# SPDX-License-Identifier: Apache-2.0
"""Checks k8s/alerts: that weir has every metric and label value in them, and with promtool that they are rules and fire when they should."""
import re
import shutil
import subprocess

import yaml

# What alerts_test.yaml must not let pass: (what stands in the rules, what stands there instead).
FAULTS = [("for: 1h", "for: 1m"), ("for: 1h", "for: 2h"), ('state="paused"', 'state=~"paused|held"'), ("[10m]", "[1m]"), ("draining|drained", "draining"),
          ("sum without (phase) (last_over_time", "(last_over_time")]


def read(root):
    """The text of the rule file in our PrometheusRule."""
    rule = yaml.safe_load((root / "k8s/alerts/prometheusrule.yaml").read_text())
    assert rule["kind"] == "PrometheusRule" and rule["apiVersion"] == "monitoring.coreos.com/v1"
    return yaml.safe_dump(rule["spec"], width=10_000, sort_keys=False)


def unknown(root, text):
    """Metrics and label values that nothing in relay/ has."""
    sources = "".join(path.read_text() for path in sorted((root / "relay").glob("*.c")))
    names = set(re.findall(r"\bweir_\w+", text)) | {v for m in re.findall(r'\w+=~?"([a-z_|]+)"', text) for v in m.split("|")}
    return ["there is no %s" % name for name in sorted(names) if '"%s"' % name not in sources]


def promtool(root):
    return shutil.which("promtool") or shutil.which(root / "build/interop/promtool")


def tried(tool, here, out, text):
    """What promtool says is wrong with the rules, or that they fire at the wrong time."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "rules.yaml").write_text(text)
    shutil.copy(here / "alerts_test.yaml", out)
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run([tool, *command], cwd=out, capture_output=True, text=True)
        if done.returncode != 0:
            return [(done.stdout + done.stderr).strip()]
    return []


def missed(tool, here, out, text):
    """Faults that the tests do not see."""
    return ["%s instead of %s: not found" % (new, old) for old, new in FAULTS
            if old not in text or not tried(tool, here, out, text.replace(old, new))]
