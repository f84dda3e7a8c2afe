# SPDX-License-Identifier: Apache-2.0
"""Builds k8s/Dockerfile with buildah, without a daemon and without pulling anything, and looks into the image. Used by check.py.

The base is WEIR_IMAGE_BASE, or localhost/debian:12 where that exists, or one that mmdebstrap makes (once: it is kept as
localhost/weir-build-base:12).
"""
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile

TAG = "localhost/weir:k8s-check"
MADE_BASE = "localhost/weir-build-base:12"


class Unavailable(Exception):
    """The machine has not what an image build takes: not a fault of the image."""


def buildah(*args, **options):
    return subprocess.run(["buildah", *args], capture_output=True, text=True, **options)


def exists(image):
    return buildah("inspect", "--type", "image", image).returncode == 0


def make_base(root):
    if not shutil.which("mmdebstrap"):
        raise Unavailable("no local Debian 12 image, and no mmdebstrap to make one")
    deps = (root / "tests/tools/deps.sh").read_text()
    packages = re.search(r"^build=\(([^)]*)\)", deps, re.M).group(1).split()
    with tempfile.TemporaryDirectory() as out:
        tar = out + "/base.tar"
        done = subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "--include=" + ",".join(packages), "bookworm", tar],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise Unavailable("mmdebstrap: " + (done.stderr.strip().splitlines() or ["failed"])[-1])
        container = buildah("from", "scratch").stdout.strip()
        try:
            for step in (["add", "-q", container, tar, "/"], ["commit", "-q", container, MADE_BASE]):
                done = buildah(*step)
                if done.returncode != 0:
                    raise Unavailable("buildah %s: %s" % (step[0], done.stderr.strip()))
        finally:
            buildah("rm", container)
    return MADE_BASE


def base(root):
    if not shutil.which("buildah"):
        raise Unavailable("no buildah")
    wanted = os.environ.get("WEIR_IMAGE_BASE")
    if wanted:
        return wanted
    return next((i for i in ("localhost/debian:12", MADE_BASE) if exists(i)), None) or make_base(root)


def build(root, base_image):
    """What went wrong, as text; empty when it was built."""
    done = buildah("bud", "--isolation", "chroot", "--pull-never", "--build-arg", "BASE=" + base_image,
                   "--build-arg", "VERSION=k8s-check", "-f", "k8s/Dockerfile", "-t", TAG, ".", cwd=root)
    return [] if done.returncode == 0 else ["\n".join((done.stdout + done.stderr).splitlines()[-15:])]


def files():
    """(path, mode) of each regular file in the image."""
    with tempfile.TemporaryDirectory() as out:
        archive = out + "/image.tar"
        buildah("push", "-q", TAG, "docker-archive:" + archive, check=True)
        with tarfile.open(archive) as image:
            for layer in json.load(image.extractfile("manifest.json"))[0]["Layers"]:
                with tarfile.open(fileobj=image.extractfile(layer)) as tar:
                    yield from ((m.name, m.mode) for m in tar if m.isfile())


def look_inside():
    """(what is checked, faults) of the built image."""
    config = json.loads(buildah("inspect", "--type", "image", TAG, check=True).stdout)["OCIv1"]["config"]
    container = buildah("from", "--pull-never", TAG, check=True).stdout.strip()
    try:
        done = buildah("run", "--isolation", "chroot", container, "--", "/usr/bin/weir", "version")
    finally:
        buildah("rm", container)
    paths = dict(files())
    programs = sorted(p for p, mode in paths.items() if mode & 0o111 and not re.search(r"\.so(\.|$)", p))
    yield "the image runs as 65532", [] if config.get("User") == "65532:65532" else ["User is %s" % config.get("User")]
    yield "the image holds one program, and no shell", [] if programs == ["usr/bin/weir"] else [", ".join(programs)]
    yield "the image has CA certificates", [] if "etc/ssl/certs/ca-certificates.crt" in paths else ["none"]
    yield "weir runs in it", [] if done.returncode == 0 and "k8s-check" in done.stdout else [(done.stdout + done.stderr).strip()]


def remove():
    buildah("rmi", TAG)
