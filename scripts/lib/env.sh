# shellcheck shell=bash
# Sourced by every script here: where things are, and which Deno is used.
#
# Gives ROOT (the checkout), TOOLS (all that the scripts download, git-ignored), a `deno` on the PATH once
# scripts/setup has run, and the functions below.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
TOOLS=$ROOT/.tools
DENO_NEEDED=2.9 # older ones were not tried
DENO_VERSION=2.9.6 # which is downloaded where there is none, and on which a release runs

# Nothing is written into the home folder.
export DENO_DIR=$TOOLS/deno-dir npm_config_cache=$TOOLS/npm
export DENO_NO_UPDATE_CHECK=1

# Deno asks for it before it trusts the system's authorities, where a company's proxy is found.
export DENO_TLS_CA_STORE=${DENO_TLS_CA_STORE:-mozilla,system}

say() { printf 'fervo-worker: %s\n' "$*"; }
die() {
  say "$@" >&2
  exit 1
}

# Is the Deno on the PATH new enough?
has_deno() {
  local version
  version=$(deno --version 2>/dev/null) || return 1
  [[ $version =~ ^deno\ ([0-9.]+) ]] &&
    [[ $(printf '%s\n' "$DENO_NEEDED" "${BASH_REMATCH[1]}" | sort -V | head -n 1) == "$DENO_NEEDED" ]]
}

# Puts the Deno of scripts/setup on the PATH, unless the user's own will do. It is the binary itself: the
# package's launcher needs node and takes longer to start.
find_deno() {
  has_deno && return
  local binary
  for binary in "$TOOLS"/deno/node_modules/@deno/*/deno; do
    [[ -x $binary ]] && PATH=${binary%/deno}:$PATH
  done
  has_deno
}

find_deno || true
export PATH
