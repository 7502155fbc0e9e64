# SPDX-License-Identifier: MPL-2.0
"""Checks lists of parts by CycloneDX's own library: check_parts.py FILE...

Each must keep to the schema, with nothing that it does not know, and name no part that is not in it.
"""

import json
import pathlib
import sys
import warnings

from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def check(path):
    text = pathlib.Path(path).read_text()
    if error := JsonStrictValidator(SchemaVersion.V1_5).validate_str(text):
        sys.exit(f"FAIL {path}: {error}")
    bill = Bom.from_json(json.loads(text))
    # It warns of parts that nothing depends on.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bill.validate()


if __name__ == "__main__":
    for path in sys.argv[1:]:
        check(path)
