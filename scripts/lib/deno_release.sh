# shellcheck shell=bash
# Deno's own archives for a release: downloaded from Deno's server, and used only when they have the SHA-256 that is pinned
# in scripts/deno-release.sha256. Sourced after env.sh.
#
# FERVO_DENO_SERVER names a mirror of Deno's download server. It need not be trusted, as the hashes are ours.

DENO_SERVER=${FERVO_DENO_SERVER:-https://dl.deno.land}
DENO_PINS=$ROOT/scripts/deno-release.sha256
DENO_ARCHIVES=$TOOLS/deno-release

# download_file URL FILE: fails with curl's own words
download_file() {
  local protocols='=https'
  [[ $1 != http://* ]] || protocols='=https,http'
  curl --fail --silent --show-error --location --proto "$protocols" --connect-timeout 15 --max-time 900 --retry 2 \
    --output "$2" -- "$1"
}

# sha256_of FILE
sha256_of() { sha256sum -- "$1" | cut -d ' ' -f 1; }

# get_deno_archive NAME: into DENO_ARCHIVES, with the pinned SHA-256; ends the script where that cannot be had
get_deno_archive() {
  local name=$1 place=v$DENO_VERSION/$1 file=$DENO_ARCHIVES/v$DENO_VERSION-$1 pinned found reason
  pinned=$(sed -nE "s|^([0-9a-f]{64})  ${place//./\\.}\$|\1|p" "$DENO_PINS")
  [[ $pinned =~ ^[0-9a-f]{64}$ ]] ||
    die "no SHA-256 is pinned for $place in scripts/deno-release.sha256: run scripts/compile --pin, as docs/releasing.md says"
  if [[ -f $file && $(sha256_of "$file") == "$pinned" ]]; then return; fi

  mkdir -p "$DENO_ARCHIVES"
  say "downloading $DENO_SERVER/release/$place"
  if ! reason=$(download_file "$DENO_SERVER/release/$place" "$file.part" 2>&1); then
    rm -f "$file.part"
    die "cannot download $DENO_SERVER/release/$place (${reason##*$'\n'}). A release is made with Deno's own runtime only:" \
      "run this where that server can be reached, or name a mirror of it in FERVO_DENO_SERVER"
  fi
  found=$(sha256_of "$file.part")
  if [[ $found != "$pinned" ]]; then
    rm -f "$file.part"
    die "$DENO_SERVER/release/$place is refused: its SHA-256 is $found, and scripts/deno-release.sha256 pins $pinned"
  fi
  mv "$file.part" "$file"
}

# unpack_deno_archive NAME MEMBER FOLDER: the executable MEMBER of an archive that get_deno_archive has got
unpack_deno_archive() {
  unzip -q -o "$DENO_ARCHIVES/v$DENO_VERSION-$1" "$2" -d "$3"
  chmod 0755 "$3/$2"
}

# pin_deno_archives NAME...: writes the pins of DENO_VERSION, from archives whose SHA-256 Deno's server tells the same of
pin_deno_archives() {
  local name place file told found pins=()
  mkdir -p "$DENO_ARCHIVES"
  for name in "$@"; do
    place=v$DENO_VERSION/$name file=$DENO_ARCHIVES/v$DENO_VERSION-$name
    say "downloading $DENO_SERVER/release/$place"
    download_file "$DENO_SERVER/release/$place" "$file" || die "cannot download $DENO_SERVER/release/$place"
    download_file "$DENO_SERVER/release/$place.sha256sum" "$file.sha256sum" ||
      die "cannot download $DENO_SERVER/release/$place.sha256sum"
    found=$(sha256_of "$file")
    told=$(grep -oiE -m 1 '[0-9a-f]{64}' "$file.sha256sum" | tr A-F a-f || true)
    [[ $found == "$told" ]] || die "$place is not what its .sha256sum says: $found, not ${told:-a SHA-256}"
    pins+=("$found  $place")
  done
  {
    sed -n '/^#/p' "$DENO_PINS"
    printf '%s\n' "${pins[@]}"
  } >"$DENO_PINS.part"
  mv "$DENO_PINS.part" "$DENO_PINS"
  say "scripts/deno-release.sha256 has the hashes of Deno $DENO_VERSION; compare them with a second source before you commit them"
}
