# SPDX-License-Identifier: MPL-2.0
"""What a program is linked with, from Cargo's own lists: parts.py CRATE FOLDER [PURL=LICENCE...]

Writes into FOLDER
    third-parties.txt   every crate, with the texts of its licence as they lie in its source, each text once
    parts.cdx.json      the same for programs, as a CycloneDX 1.5 bill of materials with the crates' SHA-256, and which of
                        them depends on which

They are those of the target CARGO_BUILD_TARGET, or of this machine. Further arguments are package URLs of parts that Cargo
does not know. Fails where a crate has no licence.
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
INNER_VERSION = re.compile(r"^set\(VERSION ([\d.]+)\)$", re.MULTILINE)


def host():
    lines = subprocess.check_output(["rustc", "-vV"], text=True, cwd=ROOT).splitlines()
    return next(line.split()[1] for line in lines if line.startswith("host: "))


def metadata():
    target = os.environ.get("CARGO_BUILD_TARGET") or host()
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    return json.loads(subprocess.check_output(command, cwd=ROOT))


def linked(name, found):
    """The packages linked into that one, and the identifiers of those that each depends on. Procedural macros, and what
    builds and tests need, are not linked."""
    packages = {package["id"]: package for package in found["packages"]}
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    todo = [id for id, package in packages.items() if package["name"] == name]
    if not todo:
        sys.exit(f"{name}: no such crate in this workspace")

    def is_macro(id):
        return any("proc-macro" in target["kind"] for target in packages[id]["targets"])

    needs = {}
    while todo:
        id = todo.pop()
        if id in needs:
            continue
        wanted = [d["pkg"] for d in nodes[id]["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]
        needs[id] = [other for other in wanted if not is_macro(other)]
        todo += needs[id]
    return sorted((packages[id] for id in needs), key=lambda package: (package["name"], package["version"])), needs


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


def url_of(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def inner_url(package, library):
    """The package URL of a library in C that a crate carries, with the version that its build files tell."""
    file = pathlib.Path(package["manifest_path"]).parent / library / "CMakeLists.txt"
    return f"pkg:generic/{library}@{INNER_VERSION.search(file.read_text())[1]}"


def component(kind, url, licence):
    name, version = url.rsplit("/", 1)[1].split("@")
    part = {"type": kind, "name": name, "version": version, "licenses": [{"expression": licence}]}
    return part | {"bom-ref": url, "purl": url}


def bill_of_materials(root, packages, needs, others):
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    sums = {(entry["name"], entry["version"]): entry.get("checksum") for entry in lock}
    urls = {package["id"]: url_of(package) for package in packages}
    parts, dependencies = [], []
    for package in packages:
        url, inner = url_of(package), INNER.get(package["name"], {})
        # Before there was a syntax for choices, crates wrote slashes.
        part = component("library", url, package["license"].replace("/", " OR "))
        if checksum := sums.get((package["name"], package["version"])):
            part["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        carried = [component("library", inner_url(package, library), licence) for library, licence in inner.items()]
        needed = [urls[id] for id in needs[package["id"]]] + [part["purl"] for part in carried]
        if package["name"] == root:
            part["type"], subject = "application", part
            carried = [component("library", *other.split("=")) for other in others]
            needed += [part["purl"] for part in carried]
        else:
            parts.append(part)
        parts += carried
        dependencies.append({"ref": url, "dependsOn": sorted(set(needed))})
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1}
    bill |= {"metadata": {"component": subject}, "components": parts, "dependencies": dependencies}
    # The same parts have the same number, whenever they are listed.
    bill["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bill)).urn
    return bill


def main(crate, folder, *others):
    packages, needs = linked(crate, metadata())
    os.makedirs(folder, exist_ok=True)
    folder = pathlib.Path(folder)
    (folder / "third-parties.txt").write_text(third_parties(packages))
    bill = bill_of_materials(crate, packages, needs, others)
    (folder / "parts.cdx.json").write_text(json.dumps(bill, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
