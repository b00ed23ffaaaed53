#!/usr/bin/env bash
# Makes a new algorithm that runs at once: samples/<name>/ from the template, and its entry in config_algorithm.map_type.
#
#   samples/add_algorithm.sh <name> <type>      e.g.  samples/add_algorithm.sh helmet_check 21
#
# Nothing else is touched, and nothing that is there is overwritten; the same call again changes nothing.
# STREAMSERVER_PROJECT names another project folder than the one this script lies in.
set -euo pipefail

fail() {
    echo "add_algorithm.sh: $1" >&2
    exit "${2:-1}"
}

[[ $# -eq 2 ]] || fail "usage: add_algorithm.sh <name> <type>, e.g. add_algorithm.sh helmet_check 21" 64
name=$1
type=$2
root=${STREAMSERVER_PROJECT:-$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)}
config=$root/config_algorithm.py
source_dir=$root/samples/template
target=$root/samples/$name
python=$root/.venv/bin/python
[[ -x $python ]] || python=python3
# -IS: only Python itself is needed, never a keyword.py or an ast.py of the folder one happens to stand in.

[[ $name =~ ^[a-z][a-z0-9_]*$ ]] || fail "'$name' is no name; use lower-case letters, digits and _, a letter first" 64
[[ $name != config_logic ]] || fail "'config_logic' is a file of every algorithm; choose another name" 64
[[ $name != template ]] || fail "'template' is what new algorithms are made from; choose another name" 64
"$python" -IS -c 'import keyword, sys; sys.exit(keyword.iskeyword(sys.argv[1]))' "$name" ||
    fail "'$name' is a Python keyword; choose another name" 64
[[ $type =~ ^[1-9][0-9]{0,8}$ ]] || fail "'$type' is no number; use a whole number from 1" 64
[[ -f $config ]] || fail "$config is missing; is $root a stream-server folder?"
[[ -d $source_dir ]] || fail "$source_dir is missing; is $root a stream-server folder?"

exec 9<"$root/samples"
"$python" -IS -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' # two calls at once: one after the other

# map_type <check|add>: prints "there" when the entry exists, "free" when it can be made; fails, with the reason, else.
map_type() {
    "$python" -IS - "$1" "$config" "$name" "$type" <<'PYTHON'
import ast
import os
import shutil
import sys

action, path, name, number = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])


def find(text):
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(getattr(node, "value", None), ast.Dict) and any(getattr(t, "id", "") == "map_type" for t in targets):
            return node.value
    sys.exit(f"add_algorithm.sh: {path}: no 'map_type = {{...}}'; add the entry {number}: '{name}' by hand")


def with_entry(text):
    table = find(text)
    lines = text.encode().splitlines(keepends=True)  # ast counts columns in bytes
    entry = f"{number}: {QUOTE}{name}{QUOTE}"
    if not table.values:
        at, inserted = offset(lines, table.lineno, table.col_offset) + 1, entry
    else:
        last_key, last = table.keys[-1], table.values[-1]
        at = offset(lines, last.end_lineno, last.end_col_offset)
        if last.end_lineno == table.end_lineno:
            inserted = f", {entry}"
        else:
            inserted = f",\n{' ' * last_key.col_offset}{entry}"
    data = text.encode()
    return (data[:at] + inserted.encode() + data[at:]).decode()


def offset(lines, line, column):
    return sum(map(len, lines[: line - 1])) + column


with open(path, encoding="utf-8", newline="") as file:
    text = file.read()
try:
    known = ast.literal_eval(find(text))
except (SyntaxError, ValueError) as e:
    sys.exit(f"add_algorithm.sh: {path} cannot be read: {e}; correct it first")
QUOTE = "'" if any(ast.get_source_segment(text, v).startswith("'") for v in find(text).values) else '"'

if known.get(number) == name:
    print("there")
elif number in known:
    sys.exit(f"add_algorithm.sh: type {number} is taken by '{known[number]}'; choose a number that is not in {sorted(known)}")
elif name in known.values():
    taken = next(key for key, value in known.items() if value == name)
    sys.exit(f"add_algorithm.sh: '{name}' is there already, as type {taken}; choose another name")
elif action == "check":
    print("free")
else:
    changed = with_entry(text)
    if ast.literal_eval(find(changed)) != known | {number: name}:
        sys.exit(f"add_algorithm.sh: {path}: map_type could not be changed; add {number}: '{name}' by hand")
    with open(f"{path}.new", "w", encoding="utf-8", newline="") as file:
        file.write(changed)
    shutil.copymode(path, f"{path}.new")
    os.replace(f"{path}.new", path)
PYTHON
}

entry=$(map_type check)
if [[ -d $target && $entry == there ]]; then
    echo "samples/$name is already there, as type $type."
    exit 0
fi
if [[ -e $target && ! -f $target/$name.py ]]; then
    fail "samples/$name is taken by something without $name.py; choose another name or remove it"
fi

if [[ ! -e $target ]]; then
    staging=$(mktemp -d "$root/samples/.new.XXXXXX")
    trap 'rm -rf -- "$staging"' EXIT
    cp -R -- "$source_dir/." "$staging"
    find "$staging" -name __pycache__ -type d -prune -exec rm -rf -- {} +
    find "$staging" -type f -exec sed -i -e "s/template/$name/g" -e "s/TYPE_NUMBER/$type/g" {} +
    while IFS= read -r -d '' file; do
        base=$(basename -- "$file")
        mv -- "$file" "$(dirname -- "$file")/${base//template/$name}"
    done < <(find "$staging" -type f -name '*template*' -print0)
    chmod 755 "$staging"
    mv -T -- "$staging" "$target"
    echo "made samples/$name"
fi
if [[ $entry == free ]]; then
    map_type add
    echo "added $type: '$name' to config_algorithm.map_type"
fi
echo "A task with \"Type\": $type runs it now; change samples/$name/$name.py to what it shall do."
