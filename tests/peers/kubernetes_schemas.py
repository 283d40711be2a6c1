"""Turns Kubernetes' own description of its API into strict JSON schemas, as `kubeconform` reads them from a folder.

`python tests/peers/kubernetes_schemas.py SWAGGER FOLDER`: `make peers` calls it with the description that is in
Kubernetes' source. Strict: an object has no key but those described, so that a misspelt one is found.
"""

import json
import sys
from pathlib import Path
from typing import Any

DEFINITIONS = "_definitions.json"
OF_TWO_TYPES = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
}
"""What the description calls a string, and takes as a number too."""
KIND = "x-kubernetes-group-version-kind"


def write(swagger: Path, folder: Path) -> int:
    """Write the schemas, one a kind and version beside their common definitions; return how many kinds there are."""
    definitions: dict[str, dict[str, Any]] = json.loads(swagger.read_text())["definitions"]
    folder.mkdir(parents=True, exist_ok=True)
    strict = {name: OF_TWO_TYPES.get(name) or _strict(definition) for name, definition in definitions.items()}
    (folder / DEFINITIONS).write_text(json.dumps({"definitions": strict}))
    kinds = 0
    for name, definition in definitions.items():
        for kind in definition.get(KIND, ()):
            group = kind["group"].split(".")[0]
            parts = filter(None, (kind["kind"].lower(), group, kind["version"].lower()))
            reference = {"$ref": f"{DEFINITIONS}#/definitions/{name}"}
            (folder / f"{'-'.join(parts)}.json").write_text(json.dumps(reference))
            kinds += 1
    return kinds


def _strict(definition: dict[str, Any]) -> dict[str, Any]:
    without = {key: value for key, value in definition.items() if not key.startswith("x-") and key != "description"}
    return {**without, "additionalProperties": False} if "properties" in without else without


if __name__ == "__main__":
    print(f"{write(Path(sys.argv[1]), Path(sys.argv[2]))} kinds")  # noqa: T201 -- a command
