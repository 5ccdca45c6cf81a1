#!/bin/sh
# Makes sure that the jail works in which edited harnesses run: bubblewrap, and libseccomp for the
# filter of system calls.  Silent when both do.
set -eu

works() {
    # Not only present: many containers have bwrap but refuse it its namespaces.
    bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev true 2>/dev/null && has_seccomp
}

has_seccomp() {
    PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null | grep -q 'libseccomp\.so'
}

works && exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    as_root="sudo -n"
fi
if ! { command -v bwrap && has_seccomp; } >/dev/null &&
    command -v apt-get >/dev/null && $as_root true 2>/dev/null; then
    echo "Installing bubblewrap and libseccomp, the sandbox for edited harnesses ..."
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -qq >/dev/null 2>&1 || true
    $as_root apt-get install -y -qq bubblewrap libseccomp2 >/dev/null 2>&1 || true
    works && exit 0
fi

if command -v bwrap >/dev/null && ! has_seccomp; then
    problem="no libseccomp: install the package 'libseccomp2' (Debian) or 'libseccomp'"
elif command -v bwrap >/dev/null; then
    problem="bubblewrap is installed but may not make namespaces here: allow user namespaces"
else
    problem="no bubblewrap: install the package 'bubblewrap' (Linux)"
fi
echo "$problem; until then simulated runs go unsandboxed and real endpoints are refused." >&2
