"""Manifests for KubeRay 1.7, written from the typed config of a run."""
