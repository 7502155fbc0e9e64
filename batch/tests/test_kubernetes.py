# SPDX-License-Identifier: MPL-2.0
"""The manifest, against the schemas of Kubernetes. No cluster runs it here."""

import kubernetes_validate
import pytest
import yaml

from conftest import ROOT

# The first and the last of those that take it: before, a rule about exit statuses had to be one about conditions, too.
VERSIONS = ("1.29", kubernetes_validate.latest_version())


@pytest.fixture(scope="module")
def manifest():
    return yaml.safe_load((ROOT / "batch/kubernetes/job.yaml").read_text())


@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifest_is_valid(manifest, version):
    kubernetes_validate.validate(manifest, version, strict=True)


def test_an_unknown_key_would_be_found(manifest):
    manifest["spec"]["template"]["spec"]["restartPolice"] = "Never"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[0], strict=True)


def test_exit_codes_lead_where_they_should(manifest):
    """What the API server checks beyond the schema: a container that exists, and the restart policy that failure policies need."""
    template = manifest["spec"]["template"]["spec"]
    assert template["restartPolicy"] == "Never"
    actions = {}
    for rule in manifest["spec"]["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes", {"values": [], "containerName": "lipsync"})
        assert codes["containerName"] in [container["name"] for container in template["containers"]]
        actions |= dict.fromkeys(codes["values"], rule["action"])
    assert actions == {2: "FailJob", 3: "FailIndex"}
