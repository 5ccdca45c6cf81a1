#!/bin/sh
# Makes sure that bubblewrap works: the jail in which edited harnesses run.  Silent when it does.
set -eu

works() {
    # Not only present: many containers have bwrap but refuse it its namespaces.
    bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev true 2>/dev/null
}

works && exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    as_root="sudo -n"
fi
if ! command -v bwrap >/dev/null && command -v apt-get >/dev/null && $as_root true 2>/dev/null; then
    echo "Installing bubblewrap, the sandbox for edited harnesses ..."
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -qq >/dev/null 2>&1 || true
    $as_root apt-get install -y -qq bubblewrap >/dev/null 2>&1 || true
    works && exit 0
fi

if command -v bwrap >/dev/null; then
    problem="bubblewrap is installed but may not make namespaces here: allow user namespaces"
else
    problem="no bubblewrap: install the package 'bubblewrap' (Linux)"
fi
echo "$problem; until then simulated runs go unsandboxed and real endpoints are refused." >&2
