# SPDX-License-Identifier: MPL-2.0
"""What a program is linked with, from Cargo's own lists: parts.py CRATE FOLDER [NAME=VERSION=LICENCE...]

Writes into FOLDER
    third-parties.txt   every crate, with the texts of its licence as they lie in its source, each text once
    parts.cdx.json      the same for programs, as a CycloneDX 1.5 bill of materials with the crates' SHA-256

Further arguments are parts that Cargo does not know. Fails where a crate has no licence.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib
import uuid

ROOT = pathlib.Path(__file__).parents[2]
TEXTS = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)
# Libraries in C that crates carry in a folder of that name, and their licences.
INNER = {"turbojpeg-sys": {"libjpeg-turbo": "IJG AND BSD-3-Clause AND Zlib"}}


def metadata():
    host = next(
        line.split()[1]
        for line in subprocess.check_output(["rustc", "-vV"], text=True, cwd=ROOT).splitlines()
        if line.startswith("host: ")
    )
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host]
    return json.loads(subprocess.check_output(command, cwd=ROOT))


def linked(name, found):
    """The packages linked into that one: procedural macros, and what builds and tests need, are not."""
    packages = {package["id"]: package for package in found["packages"]}
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    todo = [id for id, package in packages.items() if package["name"] == name]
    if not todo:
        sys.exit(f"{name}: no such crate in this workspace")
    seen = set()
    while todo:
        id = todo.pop()
        if id in seen or any("proc-macro" in target["kind"] for target in packages[id]["targets"]):
            continue
        seen.add(id)
        todo += [d["pkg"] for d in nodes[id]["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]
    return sorted((packages[id] for id in seen), key=lambda package: (package["name"], package["version"]))


def texts(package):
    """The licence files of a crate: path within it, and text."""
    folder = pathlib.Path(package["manifest_path"]).parent
    for place in [folder, *(folder / inner for inner in INNER.get(package["name"], {}))]:
        for file in sorted(place.iterdir()):
            if TEXTS.match(file.name) and file.is_file():
                yield str(file.relative_to(folder)), file.read_text(errors="replace").strip()


def third_parties(packages):
    """The list of crates, then each text once with the crates that have it."""
    lines = ["Crates that are linked, with their licences. The texts follow, each with the crates that carry it.", ""]
    carriers = {}
    for package in packages:
        if not package["license"]:
            sys.exit(f"{package['name']} {package['version']}: names no licence")
        if not package["source"]:
            continue
        name = f"{package['name']} {package['version']}"
        lines.append(f"{name}: {package['license']}")
        found = list(texts(package))
        if not found:
            sys.exit(f"{name}: there is no licence in its source")
        for path, text in found:
            carriers.setdefault(text, []).append(f"{name}, {path}")
    for text, names in carriers.items():
        lines += ["", "=" * 100, *names, "-" * 100, "", text]
    return "\n".join(lines) + "\n"


def bill_of_materials(root, packages, others):
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    sums = {(entry["name"], entry["version"]): entry.get("checksum") for entry in lock}

    def component(kind, name, version, licence, **more):
        return {"type": kind, "name": name, "version": version, "licenses": [{"expression": licence}], **more}

    parts = []
    for package in packages:
        name, version = package["name"], package["version"]
        # Before there was a syntax for choices, crates wrote slashes.
        licence = package["license"].replace("/", " OR ")
        url = f"pkg:cargo/{name}@{version}"
        part = component("library", name, version, licence, **{"bom-ref": url, "purl": url})
        if sums.get((name, version)):
            part["hashes"] = [{"alg": "SHA-256", "content": sums[name, version]}]
        if name == root:
            part["type"], subject = "application", part
        else:
            parts.append(part)
        for inner, licence in INNER.get(name, {}).items():
            parts.append({"type": "library", "name": inner, "licenses": [{"expression": licence}]})
    parts += [component("library", *other.split("=")) for other in others]
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1}
    bill |= {"metadata": {"component": subject}, "components": parts}
    # The same parts have the same number, whenever they are listed.
    bill["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bill)).urn
    return bill


def main(crate, folder, *others):
    packages = linked(crate, metadata())
    os.makedirs(folder, exist_ok=True)
    folder = pathlib.Path(folder)
    (folder / "third-parties.txt").write_text(third_parties(packages))
    bill = bill_of_materials(crate, packages, others)
    (folder / "parts.cdx.json").write_text(json.dumps(bill, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
