#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks rendered manifests for what a schema cannot know: names that must meet, and what weir itself takes.

One function a rule, in RULES; each yields what is wrong as text. They say nothing about field names and types: that is
schema.mjs's part. Used by check.py.
"""
import os
import re
import subprocess
import tempfile

import yaml

WORKLOADS = ("StatefulSet", "Deployment", "DaemonSet")
SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
         "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
# Fields whose value is one of a few words; the schema takes any string there.
ENUMS = {
    "podManagementPolicy": {"Parallel", "OrderedReady"},
    "whenDeleted": {"Retain", "Delete"},
    "whenScaled": {"Retain", "Delete"},
    "unhealthyPodEvictionPolicy": {"AlwaysAllow", "IfHealthyBudget"},
    "whenUnsatisfiable": {"ScheduleAnyway", "DoNotSchedule"},
    "fsGroupChangePolicy": {"OnRootMismatch", "Always"},
    "imagePullPolicy": {"IfNotPresent", "Always", "Never"},
    "internalTrafficPolicy": {"Cluster", "Local"},
    "accessModes": {"ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany", "ReadOnlyMany"},
    "protocol": {"TCP", "UDP", "SCTP"},
}


class Manifests:
    """The rendered documents, and what the sources and the binary say."""

    def __init__(self, docs, routes=frozenset(), weir=None):
        self.docs = [d for d in docs if d]
        self.routes = routes  # paths that the admin listener serves
        self.weir = weir      # the binary, or None

    def of(self, *kinds):
        return [d for d in self.docs if d["kind"] in kinds]

    def named(self, kind, name):
        return next((d for d in self.of(kind) if d["metadata"]["name"] == name), None)

    def workloads(self):
        return self.of(*WORKLOADS)

    def containers(self):
        """(workload, pod spec, container), init containers too."""
        for doc in self.workloads():
            pod = doc["spec"]["template"]["spec"]
            for container in pod.get("initContainers", []) + pod["containers"]:
                yield doc, pod, container

    def selected(self, labels):
        return [w for w in self.workloads() if labels and labels.items() <= pod_labels(w).items()]


def title(doc):
    return "%s/%s" % (doc["kind"], doc["metadata"]["name"])


def pod_labels(workload):
    return workload["spec"]["template"]["metadata"].get("labels") or {}


def size_bytes(text):
    number, unit = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", str(text)).groups()
    return int(number) * SIZES[unit]


def seconds(text):
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(int(n) * units[u] for n, u in re.findall(r"(\d+)(ms|[smhd])", str(text)))


def probes(container):
    return [(k, container[k]) for k in ("startupProbe", "livenessProbe", "readinessProbe") if k in container]


def container_ports(workload):
    return [p for c in workload["spec"]["template"]["spec"]["containers"] for p in c.get("ports", [])]


def configs(m):
    """(workload, pod, container, file's path in the container, text) of each --config that a ConfigMap provides."""
    for doc, pod, container in m.containers():
        args = container.get("args", [])
        if "--config" not in args[:-1]:
            continue
        path = args[args.index("--config") + 1]
        volumes = {v["name"]: v for v in pod.get("volumes", [])}
        for mount in container.get("volumeMounts", []):
            source = volumes.get(mount["name"], {}).get("configMap")
            if source and os.path.dirname(path) == mount["mountPath"].rstrip("/"):
                data = (m.named("ConfigMap", source["name"]) or {}).get("data", {})
                yield doc, pod, container, path, data.get(os.path.basename(path))


# --- the rules ---------------------------------------------------------------------------------------------------------

def selectors_match_template_labels(m):
    for doc in m.workloads():
        wanted = doc["spec"]["selector"].get("matchLabels") or {}
        if not wanted or not wanted.items() <= pod_labels(doc).items():
            yield "%s: selector %s does not match the template's labels %s" % (title(doc), wanted, pod_labels(doc))


def other_selectors_find_pods(m):
    for doc in m.docs:
        spec = doc.get("spec") or {}
        found = {"Service": lambda s: s.get("selector"),
                 "PodDisruptionBudget": lambda s: (s.get("selector") or {}).get("matchLabels"),
                 "NetworkPolicy": lambda s: (s.get("podSelector") or {}).get("matchLabels"),
                 "PodMonitor": lambda s: (s.get("selector") or {}).get("matchLabels")}.get(doc["kind"])
        if found and not m.selected(found(spec)):
            yield "%s: selector %s matches no pod" % (title(doc), found(spec))
    for doc in m.workloads():
        for spread in doc["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            if doc not in m.selected(spread["labelSelector"].get("matchLabels")):
                yield "%s: topologySpreadConstraints: labelSelector does not match its own pods" % title(doc)


def service_ports_exist(m):
    for service in m.of("Service"):
        for workload in m.selected(service["spec"].get("selector")):
            known = {p["name"] for p in container_ports(workload) if "name" in p}
            known |= {p["containerPort"] for p in container_ports(workload)}
            for port in service["spec"].get("ports", []):
                target = port.get("targetPort", port["port"])
                if target not in known:
                    yield "%s: targetPort %s is no port of %s" % (title(service), target, title(workload))


def probes_have_port_and_route(m):
    for doc, _, container in m.containers():
        named = {p.get("name") for p in container.get("ports", [])}
        for name, probe in probes(container):
            get = probe.get("httpGet")
            if not get:
                yield "%s: %s is no httpGet" % (title(doc), name)
                continue
            if get["port"] not in named:
                yield "%s: %s: port %s is not named in the container" % (title(doc), name, get["port"])
            if get.get("path") not in m.routes:
                yield "%s: %s: weir serves no %s" % (title(doc), name, get.get("path"))


def volume_mounts_exist(m):
    for doc, pod, container in m.containers():
        known = {v["name"] for v in pod.get("volumes", [])}
        known |= {c["metadata"]["name"] for c in doc["spec"].get("volumeClaimTemplates", [])}
        mounted = {v["name"] for v in container.get("volumeMounts", [])}
        for name in sorted(mounted - known):
            yield "%s: volumeMount %s has no volume" % (title(doc), name)
        for name in sorted(known - mounted):
            yield "%s: volume %s is not mounted" % (title(doc), name)


def config_maps_exist(m):
    for doc in m.workloads():
        for volume in doc["spec"]["template"]["spec"].get("volumes", []):
            name = (volume.get("configMap") or {}).get("name")
            if name and not m.named("ConfigMap", name):
                yield "%s: volume %s: there is no ConfigMap %s" % (title(doc), volume["name"], name)


def service_name_exists_and_is_headless(m):
    for doc in m.of("StatefulSet"):
        service = m.named("Service", doc["spec"].get("serviceName"))
        if not service:
            yield "%s: there is no Service %s" % (title(doc), doc["spec"].get("serviceName"))
        elif service["spec"].get("clusterIP") != "None":
            yield "%s: its Service %s is not headless" % (title(doc), service["metadata"]["name"])


def images_have_a_version(m):
    for doc, _, container in m.containers():
        last = container["image"].rsplit("/", 1)[-1]
        if "@sha256:" not in last and (":" not in last or last.endswith(":latest")):
            yield "%s: image %s has no fixed version" % (title(doc), container["image"])


def pods_are_restricted(m):
    """Pod Security Standards, level restricted, and more: read-only root, no API token."""
    for doc, pod, container in m.containers():
        mine, pods = container.get("securityContext") or {}, pod.get("securityContext") or {}

        def either(key):
            return mine.get(key, pods.get(key))

        faults = {
            "runAsNonRoot is not true": either("runAsNonRoot") is not True,
            "runAsUser is 0": either("runAsUser") == 0,
            "seccompProfile is not RuntimeDefault": (either("seccompProfile") or {}).get("type") != "RuntimeDefault",
            "allowPrivilegeEscalation is not false": mine.get("allowPrivilegeEscalation") is not False,
            "capabilities are not dropped": (mine.get("capabilities") or {}).get("drop") != ["ALL"],
            "capabilities are added": bool((mine.get("capabilities") or {}).get("add")),
            "privileged": bool(mine.get("privileged")),
            "readOnlyRootFilesystem is not true": mine.get("readOnlyRootFilesystem") is not True,
            "it shares a namespace of the host": any(pod.get(k) for k in ("hostNetwork", "hostPID", "hostIPC")),
            "a volume is a hostPath": any("hostPath" in v for v in pod.get("volumes", [])),
            "a port is a hostPort": any("hostPort" in p for p in container.get("ports", [])),
            "automountServiceAccountToken is not false": pod.get("automountServiceAccountToken") is not False,
        }
        for fault in (f for f, there in faults.items() if there):
            yield "%s: container %s: %s" % (title(doc), container["name"], fault)


def memory_request_is_the_limit(m):
    for doc, _, container in m.containers():
        resources = container.get("resources", {})
        request = resources.get("requests", {}).get("memory")
        limit = resources.get("limits", {}).get("memory")
        if not limit or request != limit:
            yield "%s: container %s: memory request %s, limit %s" % (title(doc), container["name"], request, limit)


def no_namespace_is_set(m):
    for doc in m.docs:
        if "namespace" in doc["metadata"]:
            yield "%s: a base names no namespace (%s)" % (title(doc), doc["metadata"]["namespace"])


def words_are_known(m):
    def walk(doc, node):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node if isinstance(node, list) else []):
            if key in ENUMS:
                for word in value if isinstance(value, list) else [value]:
                    if word not in ENUMS[key]:
                        yield "%s: %s: %s is none of %s" % (title(doc), key, word, ", ".join(sorted(ENUMS[key])))
            yield from walk(doc, value)
    for doc in m.docs:
        yield from walk(doc, doc.get("spec"))


def configuration_fits_the_pod(m):
    found = list(configs(m))
    for doc, _, container in m.containers():
        if not any(container is c for _, _, c, _, _ in found):
            yield "%s: container %s: its --config is no file of a mounted ConfigMap" % (title(doc), container["name"])
    for doc, pod, container, path, text in found:
        if text is None:
            yield "%s: %s is not in its ConfigMap" % (title(doc), path)
            continue
        config = yaml.safe_load(text)
        spool, receiver = config.get("spool", {}), config.get("receiver", {})
        directory = spool.get("directory", "/var/lib/weir")
        for claim in doc["spec"].get("volumeClaimTemplates", []):
            room = size_bytes(claim["spec"]["resources"]["requests"]["storage"])
            mounts = [v["mountPath"] for v in container["volumeMounts"] if v["name"] == claim["metadata"]["name"]]
            if not any(directory.startswith(mount.rstrip("/") + "/") for mount in mounts):
                yield "%s: spool.directory %s is not below %s, where the claim is" % (path, directory, mounts)
            elif size_bytes(spool.get("max_size", "10GiB")) > 0.9 * room:
                yield "%s: spool.max_size %s leaves less than a tenth of the claim" % (path, spool.get("max_size"))
        endpoints = {"otlp-grpc": receiver.get("grpc", {}).get("endpoint", "0.0.0.0:4317"),
                     "otlp-http": receiver.get("http", {}).get("endpoint", "0.0.0.0:4318"),
                     "admin": config.get("admin", {}).get("endpoint", "127.0.0.1:9464")}
        ports = {p.get("name"): p["containerPort"] for p in container.get("ports", [])}
        for name, endpoint in endpoints.items():
            host, port = endpoint.rsplit(":", 1)
            if ports.get(name) != int(port) or host.startswith("127.") or host == "localhost":
                yield "%s: %s listens on %s, the container's port is %s" % (path, name, endpoint, ports.get(name))
        if seconds(receiver.get("shutdown_delay", "0s")) >= pod.get("terminationGracePeriodSeconds", 30) / 2:
            yield "%s: receiver.shutdown_delay takes half of terminationGracePeriodSeconds" % path


def weir_takes_configuration_and_flags(m):
    """With the binary: the container's arguments, `run` become `check-config`, on the ConfigMap's text."""
    for doc, _, container, path, text in configs(m):
        args = container["args"]
        if args[0] != "run":
            yield "%s: args begin with %s, not with run" % (title(doc), args[0])
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(text or "")
            file.flush()
            command = [m.weir, "check-config"] + [file.name if a == path else a for a in args[1:]]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).replace(file.name, path).strip().splitlines() or ["no message"]
            yield "%s: %s: exit %d: %s" % (title(doc), " ".join(args), done.returncode, "; ".join(said))


RULES = [selectors_match_template_labels, other_selectors_find_pods, service_ports_exist, probes_have_port_and_route,
         volume_mounts_exist, config_maps_exist, service_name_exists_and_is_headless, images_have_a_version,
         pods_are_restricted, memory_request_is_the_limit, no_namespace_is_set, words_are_known,
         configuration_fits_the_pod]
WEIR_RULES = [weir_takes_configuration_and_flags]
