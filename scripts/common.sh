# Shared by the scripts here: find a Python, make a virtual environment, see that the tests' tools can start. To be sourced.

set -euo pipefail
unset PYTHONDONTWRITEBYTECODE # with it every kernel would compile everything again
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# python_is PYTHON MINOR…: whether it runs and is 3.MINOR; without MINOR, whether it is 3.11 or newer.
python_is() {
    "$1" -c 'import sys; v, *minors = sys.version_info[:2], *map(int, sys.argv[1:])
sys.exit(not (v[0] == 3 and v[1] in minors if minors else v >= (3, 11)))' "${@:2}" >/dev/null 2>&1
}

# find_python: the one that everything runs on; the variable PYTHON goes before the PATH.
find_python() {
    local name
    for name in ${PYTHON:+"$PYTHON"} python3.13 python3.12 python3.11 python3; do
        if python_is "$name"; then
            command -v "$name"
            return
        fi
    done
    die "This needs Python 3.11 or newer, and the PATH has none: install one (on Debian: apt-get install python3 python3-pip)."
}

# find_minor MINOR: a Python 3.MINOR of the PATH, or of pyenv; fails where the machine has none.
find_minor() {
    local name
    for name in "python3.$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$1".*/bin/python; do
        if python_is "$name" "$1"; then
            command -v "$name"
            return
        fi
    done
    return 1
}

# make_venv PYTHON FOLDER: a virtual environment with pip, also where Python comes without ensurepip, as Debian's does.
make_venv() {
    if python_is "$2/bin/python" && "$2/bin/python" -m pip --version >/dev/null 2>&1; then
        return
    fi
    rm -rf "$2"
    say "making $2 with $("$1" --version)"
    if "$1" -m venv "$2" >/dev/null 2>&1; then
        return
    fi
    rm -rf "$2"
    "$1" -m venv --without-pip "$2"
    "$1" -m pip --python "$2/bin/python" install -qq pip ||
        die "$1 has neither ensurepip nor a pip of 22.3 or newer: install one (on Debian: apt-get install python3-venv)."
}

# install_into FOLDER WHAT…: install packages quietly. uv needs a sixth of pip's time; pip does it where uv cannot, as with an index
# that only pip's settings name.
install_into() {
    say "installing into $1 (a minute or two, the first time)"
    local python=$1/bin/python
    if "$python" -m pip install -qq --disable-pip-version-check uv 2>/dev/null && "$1/bin/uv" pip install -qq --python "$python" "${@:2}"; then
        return
    fi
    "$python" -m pip install -qq --disable-pip-version-check "${@:2}"
}

# lacking VENV [--light]: what the tests' tools need beyond Python and do not find: a line for each, Debian's package and what it is.
lacking() { "$1/bin/python" scripts/needs.py "${@:2}"; }

# need_tools VENV [--light]: see that all of that is there before a test begins: installed as root on Debian, else named in one line.
need_tools() {
    local found package what packages=() words=
    found=$(lacking "$@")
    if [[ $found == *chromium* ]] && timeout 300 "$1/bin/python" -m playwright install chromium >/dev/null 2>&1; then
        found=$(lacking "$@")
    fi
    while read -r package what; do
        [ "$package" = - ] || packages+=("$package")
    done <<<"$found"
    if [ -n "${packages[*]}" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing ${packages[*]}"
        apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null || true
        found=$(lacking "$@")
    fi
    [ -n "$found" ] || return 0
    packages=()
    while read -r package what; do
        [ "$package" = - ] || packages+=("$package")
        words+="${words:+; }$what"
    done <<<"$found"
    die "The tests need what this machine lacks: $words.${packages[*]:+ As root on Debian: apt-get install ${packages[*]}}"
}

# need_clients VENV [FOLDER]: see that the clients of other people are there, as the folder's package-lock.json lists them; they are npm's.
need_clients() {
    local folder=${2:-tests/clients} output
    if cmp -s "$folder/package-lock.json" "$folder/node_modules/.installed"; then
        return
    fi
    say "installing other people's clients from npm"
    if ! output=$("$1/bin/npm" ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --prefer-offline --loglevel=error \
        --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=5000 2>&1); then
        output=$(grep -m1 "reason:" <<<"$output" || head -n1 <<<"$output")
        die "The tests need clients that other people wrote, and npm could not install them: ${output#npm error }"
    fi
    cp "$folder/package-lock.json" "$folder/node_modules/.installed"
}
