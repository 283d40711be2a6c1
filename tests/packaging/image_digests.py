"""Pins the images that Compose, the Dockerfile and the Kubernetes example name by the digests their tags have now.

`make digests REGISTRY=https://…` runs it where a registry is reached. It asks the registry's API (OCI distribution
1.1, §Pulling manifests) for the manifest behind each tag, which is an index where there are several platforms, and
writes the digest behind the tag. Nothing is written unless all are known; run it again after a tag was raised.
"""

import hashlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx2

ROOT: Final = Path(__file__).resolve().parents[2]
OURS: Final = frozenset({"callscope"})
"""Images that are built here, and that no registry knows."""

_DIGEST: Final = r"sha256:[0-9a-f]{64}"
_PINNED: Final = rf"(?P<name>[^\s:@,]+):(?P<tag>[\w.-]+)(?:@(?P<digest>{_DIGEST}))?"
PLACES: Final[Mapping[str, re.Pattern[str]]] = {
    "docker-compose.yml": re.compile(rf"(?m)^(?P<before>\s+image: ){_PINNED}(?P<after>)$"),
    "Dockerfile": re.compile(rf"(?m)^(?P<before>FROM ){_PINNED}(?P<after>(?: AS \w+)?)$"),
    "deploy/kubernetes/example/kustomization.yaml": re.compile(
        r"(?m)^(?P<before>  - \{name: )(?P<name>[^\s,]+), newTag: (?P<tag>[\w.-]+)"
        rf"(?:, digest: (?P<digest>{_DIGEST}))?(?P<after>\}})$"
    ),
}
"""The files, and how each writes an image with its tag."""

MANIFESTS: Final = (
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
)
"""What is asked for. Without the first two a registry answers with the manifest of one platform, and its digest."""


class UnknownDigestError(Exception):
    """A registry does not say what a tag stands for; the message names the image."""


@dataclass(frozen=True, slots=True)
class Image:
    """A tag of an image, as a file names it."""

    name: str
    tag: str

    def __str__(self) -> str:
        """Return the image as people write it."""
        return f"{self.name}:{self.tag}"

    def at(self, registry: str) -> tuple[str, str]:
        """Return the base address of the registry that has it, and the name it has there.

        A name that begins with a host is that host's; any other is of ``registry``, where those without a slash are in
        ``library``.
        """
        host, slash, rest = self.name.partition("/")
        if slash and ("." in host or ":" in host):
            return f"https://{host}", rest
        if not registry:
            raise UnknownDigestError(f"{self}: say which registry to ask, with REGISTRY=https://…")
        if not registry.startswith(("https://", "http://")):
            raise UnknownDigestError(f"{self}: REGISTRY={registry} is no address; write https:// before it")
        return registry.rstrip("/"), self.name if slash else f"library/{self.name}"


def main(arguments: Sequence[str], *, root: Path = ROOT) -> int:
    """Pin every image by what the registry ``arguments[0]`` says; return the exit code."""
    texts = {root / place: ((root / place).read_text(), pattern) for place, pattern in PLACES.items()}
    images = {Image(each["name"], each["tag"]) for text, pattern in texts.values() for each in pattern.finditer(text)}
    foreign = sorted((image for image in images if image.name not in OURS), key=str)
    try:
        with httpx2.Client(follow_redirects=True, timeout=30) as client:
            digests = {image: digest_of(client, image, *arguments) for image in foreign}
    except UnknownDigestError as error:
        print(f"{error}; nothing was written", file=sys.stderr)  # noqa: T201 -- a command's answer
        return 1
    for path, (text, pattern) in texts.items():
        path.write_text(pattern.sub(_written(digests), text))
    for image, digest in digests.items():
        print(f"{image} is {digest}")  # noqa: T201 -- the same
    return 0


def digest_of(client: httpx2.Client, image: Image, registry: str = "") -> str:
    """Return the digest of what a tag stands for.

    Raises:
        UnknownDigestError: if the registry cannot be reached, does not know the tag, or says nothing that is a digest.
    """
    base, name = image.at(registry)
    url = f"{base}/v2/{name}/manifests/{image.tag}"
    headers = {"Accept": MANIFESTS}
    try:
        answer = client.head(url, headers=headers)
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            headers["Authorization"] = f"Bearer {_token(client, answer.headers.get('www-authenticate', ''), name)}"
            answer = client.head(url, headers=headers)
        digest = answer.raise_for_status().headers.get("docker-content-digest")
        if digest is None:  # which the specification allows: then it is that of the manifest's bytes
            digest = f"sha256:{hashlib.sha256(client.get(url, headers=headers).raise_for_status().content).hexdigest()}"
    except (httpx2.HTTPError, ValueError, KeyError) as error:
        raise UnknownDigestError(f"{image}: {str(error).partition(chr(10))[0] or type(error).__name__}") from error
    if not re.fullmatch(_DIGEST, digest):
        raise UnknownDigestError(f"{image}: the registry says {digest[:80]!r}, which is no digest")
    return str(digest)


def _token(client: httpx2.Client, challenge: str, name: str) -> str:
    """Return a token to read with, from where the challenge says; public images have one for anybody."""
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    parameters = {"service": asked.get("service", ""), "scope": asked.get("scope", f"repository:{name}:pull")}
    given = client.get(asked["realm"], params=parameters).raise_for_status().json()
    return str(given.get("token") or given["access_token"])


def _written(digests: Mapping[Image, str]) -> Callable[[re.Match[str]], str]:
    def write(found: re.Match[str]) -> str:
        digest = digests.get(Image(found["name"], found["tag"]))
        if digest is None:
            return found[0]
        if "newTag" in found[0]:
            return f"{found['before']}{found['name']}, newTag: {found['tag']}, digest: {digest}{found['after']}"
        return f"{found['before']}{found['name']}:{found['tag']}@{digest}{found['after']}"

    return write


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
