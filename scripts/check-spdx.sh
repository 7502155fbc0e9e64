#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# Fails if a source file does not begin with its licence (after "#!", where there is one): check-spdx.sh [--add]
#
# --add writes the line into the files that lack it.
set -eu
cd "$(dirname "$0")/.."
line='SPDX-License-Identifier: MPL-2.0'
missing=$(git ls-files --cached --others --exclude-standard -- '*.rs' '*.py' '*.sh' '*.proto' Makefile '*/Makefile' |
    while read -r file; do
        # Deleted, but not yet committed as such; or empty.
        [ -s "$file" ] || continue
        head -n 2 "$file" | grep -qF "$line" || echo "$file"
    done)
[ -n "$missing" ] || exit 0
if [ "${1:-}" != --add ]; then
    echo "==> without \"$line\" at the top (scripts/check-spdx.sh --add writes it):" >&2
    echo "$missing" | sed 's/^/    /' >&2
    exit 1
fi
echo "$missing" | while read -r file; do
    case $file in
    *.rs | *.proto) sed -i "1i// $line" "$file" ;;
    *) sed -i -e '1{/^#!/!s/^/# '"$line"'\n/' -e '/^#!/s/$/\n# '"$line"'/' -e '}' "$file" ;;
    esac
done
