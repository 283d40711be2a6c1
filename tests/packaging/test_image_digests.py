"""Images pinned by digest: by a registry on loopback that speaks the distribution API, with tokens for anybody."""

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests.packaging.image_digests import MANIFESTS, OURS, PLACES, ROOT, Image, main
from tests.peers.network import HOST
from tests.peers.peers import run, run_with

EXAMPLE = "deploy/kubernetes/example"


class Registry:
    """Knows whatever image it is asked for, but for those in ``lacking``; tells no digest of those in ``silent``."""

    def __init__(self) -> None:
        self.lacking: set[str] = set()
        self.silent: set[str] = set()
        self.generation = 1
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.server_address[1]}"

    def manifest(self, name: str, tag: str) -> bytes:
        """What a tag stands for, until it is moved by a new generation."""
        return json.dumps({"name": name, "tag": tag, "generation": self.generation}).encode()

    def digest(self, name: str, tag: str) -> str:
        return f"sha256:{hashlib.sha256(self.manifest(name, tag)).hexdigest()}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(registry: Registry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            if asked.path == "/token":
                (scope,) = parse_qs(asked.query)["scope"]
                return self._answer(200, json.dumps({"token": f"for {scope}"}).encode())
            name, tag = re.fullmatch(r"/v2/(.+)/manifests/(.+)", asked.path).groups()  # type: ignore[union-attr] # a 500
            scope = f"repository:{name}:pull"
            if self.headers["authorization"] != f"Bearer for {scope}":
                challenge = f'Bearer realm="{registry.url}/token",service="registry",scope="{scope}"'
                return self._answer(401, b"", **{"WWW-Authenticate": challenge})
            registry.asked.append(f"{self.command} {name}:{tag}")
            if name in registry.lacking or self.headers["accept"] != MANIFESTS:
                return self._answer(404, b"")
            digest = {} if name in registry.silent else {"Docker-Content-Digest": registry.digest(name, tag)}
            return self._answer(200, registry.manifest(name, tag), **digest)

        def do_HEAD(self) -> None:
            self.do_GET()

        def _answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for header, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(header, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it so
            """Stay silent."""

    return Handler


@pytest.fixture
def registry() -> Iterator[Registry]:
    registry = Registry()
    yield registry
    registry.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of what is pinned, with what it refers to."""
    for folder in ("deploy", "collector-config"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for file in ("docker-compose.yml", "Dockerfile"):
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def _named(root: Path) -> dict[str, set[tuple[str, str, str | None]]]:
    """Name, tag and digest of each image that a file names."""
    read = {place: pattern.finditer((root / place).read_text()) for place, pattern in PLACES.items()}
    return {place: {(each["name"], each["tag"], each["digest"]) for each in found} for place, found in read.items()}


def test_every_image_that_is_named_is_found() -> None:
    """The patterns miss none of what Compose runs, the Dockerfile builds on, and the manifests take from elsewhere."""
    found = {place: {f"{name}:{tag}" for name, tag, _ in images} for place, images in _named(ROOT).items()}
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    assert found["docker-compose.yml"] == {service["image"].partition("@")[0] for service in services}
    bases = re.findall(r"^FROM ([^\s@]+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found["Dockerfile"] == set(bases)
    images = yaml.safe_load((ROOT / EXAMPLE / "kustomization.yaml").read_text())["images"]
    assert found[f"{EXAMPLE}/kustomization.yaml"] == {
        f"{image['name']}:{image['newTag']}" for image in images if image["name"] not in OURS
    }


def test_every_image_is_pinned_by_what_the_registry_says(root: Path, registry: Registry) -> None:
    """Tags stay, digests follow them, our own image is left alone, and the files mean what they meant."""
    assert main([registry.url], root=root) == 0
    for place, images in _named(root).items():
        for name, tag, digest in images:
            known = name if "/" in name else f"library/{name}"
            assert digest == (None if name in OURS else registry.digest(known, tag)), (place, name)
    before, after = (yaml.safe_load((where / "docker-compose.yml").read_text()) for where in (ROOT, root))
    for service in after["services"].values():
        service["image"] = service["image"].partition("@")[0]
    assert after == before
    assert {asked.split(" ")[0] for asked in registry.asked} == {"HEAD"}


def test_a_tag_that_moved_is_pinned_anew(root: Path, registry: Registry) -> None:
    """A second run changes nothing, and after the registry's tags have moved it changes the digests alone."""
    assert main([registry.url], root=root) == 0
    first = _named(root)
    assert main([registry.url], root=root) == 0
    assert _named(root) == first
    registry.generation = 2
    assert main([registry.url], root=root) == 0
    for place, images in _named(root).items():
        kept = images & first[place]
        assert {name for name, _, _ in kept} <= OURS
        assert {name for name, _, _ in images} == {name for name, _, _ in first[place]}
    assert (root / "Dockerfile").read_text().count("@sha256:") == 2


def test_a_registry_that_tells_no_digest_is_asked_for_the_manifest(root: Path, registry: Registry) -> None:
    """The digest is then that of the manifest's bytes."""
    registry.silent.add("library/haproxy")
    assert main([registry.url], root=root) == 0
    pinned = {name: (tag, digest) for name, tag, digest in _named(root)["docker-compose.yml"]}
    tag, digest = pinned["haproxy"]
    assert digest == registry.digest("library/haproxy", tag)
    assert [asked for asked in registry.asked if asked.startswith("GET")] == [f"GET library/haproxy:{tag}"]


@pytest.mark.parametrize("fault", ["lacking", "away", "unnamed", "no address"])
def test_nothing_is_written_unless_all_is_known(
    root: Path, registry: Registry, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An image that is not there, a registry away, unnamed or without address: one sentence with the image, exit 1."""
    before = _named(root)
    registry.lacking.add("prom/prometheus")
    where = {"lacking": [registry.url], "away": [registry.url], "unnamed": [], "no address": ["registry"]}[fault]
    if fault == "away":
        registry.close()
    assert main(where, root=root) == 1
    said = capsys.readouterr().err
    assert re.match(r"(prom/prometheus:v\S+|\S+:\S+): .+; nothing was written\n", said), said
    assert ("prom/prometheus" in said) == (fault == "lacking")
    assert _named(root) == before


def test_a_name_with_a_host_is_that_hosts() -> None:
    """It is asked for there, under the rest of its name, and over TLS."""
    other = "https://other.example"
    assert Image("registry.example/team/app", "1.0").at(other) == (
        "https://registry.example",
        "team/app",
    )
    assert Image("registry.example:5000/app", "1.0").at("") == ("https://registry.example:5000", "app")
    assert Image("team/app", "1.0").at(f"{other}/") == (other, "team/app")


@pytest.mark.peers
def test_kustomize_and_compose_take_what_was_written(root: Path, registry: Registry) -> None:
    """The pods' image and Compose's services have the digest, as the programs themselves read the files."""
    assert main([registry.url], root=root) == 0
    built = run("kustomize", "build", root / EXAMPLE)
    assert built.returncode == 0, built.stdout
    collector = "otel/opentelemetry-collector-contrib"
    (tag,) = {tag for name, tag, _ in _named(root)["docker-compose.yml"] if name == collector}
    assert re.search(rf"image: {collector}(:{tag})?@{registry.digest(collector, tag)}", built.stdout)
    secrets = dict.fromkeys(re.findall(r"\$\{(\w+):\?", (root / "docker-compose.yml").read_text()), "x")
    composed = run_with(secrets, "docker-compose", ["-f", root / "docker-compose.yml", "config"])
    assert composed.returncode == 0, composed.stdout
    assert f"image: {collector}:{tag}@{registry.digest(collector, tag)}" in composed.stdout
