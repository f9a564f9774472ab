"""KubeRay's custom resource definitions as strict schemas: fields that they do not name are refused."""

from functools import cache
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.conftest import SHARED

CRDS = SHARED / "kuberay-crds"
"""KubeRay v1.7.0's custom resource definitions; not part of the project."""


def check_schema(manifest: dict[str, Any]) -> None:
    """Raise ValidationError on what the definition of the manifest's kind does not take. Skips the test where it is absent."""
    Draft202012Validator(crd_schema(manifest["kind"])).validate(manifest)


@cache
def crd_schema(kind: str) -> dict[str, Any]:
    path = CRDS / f"ray.io_{kind.lower()}s.yaml"
    if not path.is_file():
        pytest.skip(f"KubeRay's custom resource definitions are not there: {path.name}")
    definition = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (version,) = (version for version in definition["spec"]["versions"] if version["name"] == "v1")
    schema: dict[str, Any] = strict(version["schema"]["openAPIV3Schema"])
    return schema


def strict(schema: Any) -> Any:
    """A copy that refuses fields it does not name: such schemas accept, and Kubernetes drops, what is misspelt."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    stricter = {key: strict(value) for key, value in schema.items()}
    # Where `properties` is itself the name of a field, it stands beside no "type": "object".
    names_its_fields = schema.get("type") == "object" and "properties" in schema
    if names_its_fields and not schema.get("x-kubernetes-preserve-unknown-fields"):
        stricter.setdefault("additionalProperties", False)
    return stricter
