# Sourced by every script here: where things are kept, and how progress and failures are told.

set -Eeuo pipefail
# Tells of a command that fails where nothing else does; our own scripts have told by themselves.
trap 'case "$BASH_SUBSHELL$BASH_COMMAND" in 0\"\$here/*) ;; 0*) printf "%s: line %s: \`%s\` failed\n" "$0" "$LINENO" "$BASH_COMMAND" >&2 ;; esac' ERR

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$here")"
# Large downloads and everything made of them: outside the tree, kept between runs and clones.
cache="${QEMU_SPICE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/qemu-spice}"
target="${CARGO_TARGET_DIR:-$root/target}"
artifacts="$target/artifacts"
me="scripts/$(basename "$0")"

say() { printf '%s\n' "$*"; }

# One clear line, and the end.
die() {
    printf '%s: %s\n' "$me" "$*" >&2
    exit 1
}

# step 2 7 'making the guest': the progress line of a script's part.
step() { printf '[%s/%s] %s …\n' "$1" "$2" "$3"; }

# Prints the comment at the top of the calling script, which is its help.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p;}' "$0"; }

# Answers --help; the callers take their other arguments themselves.
help_if_asked() {
    case "${1:-}" in -h | --help)
        usage
        exit 0
        ;;
    esac
}

# logged FILE COMMAND…: runs it with its output in FILE, whose end is shown if it fails.
logged() {
    local log="$1"
    shift
    mkdir -p "$(dirname "$log")"
    if ! "$@" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "\`$*\` failed; all its output is in $log"
    fi
}

# Runs a command as root: directly, or through sudo, saying so.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root for: $* (no sudo here)"
    fi
}

# Prints those of the packages that are not installed.
missing_of() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

# The source stanza or line from which this machine gets suite $1, with suite $2 in its place: same
# URI, same keys. Reads both forms of apt's source lists. Nothing is printed when there is none.
apt_source_like() {
    local list
    for list in /etc/apt/sources.list.d/*.sources; do
        [ -e "$list" ] || continue
        awk -v RS= -v have="$1" -v want="$2" '
            $0 ~ "(^|\n)Suites:[^\n]*[ \t]" have "([ \t\n]|$)" && !/(^|\n)Enabled:[ \t]*no/ {
                gsub(/(^|\n)#[^\n]*/, "")
                sub(/^\n/, "")
                sub(/Types:[^\n]*/, "Types: deb")
                sub(/Suites:[^\n]*/, "Suites: " want)
                sub(/Components:[^\n]*/, "Components: main")
                print
                exit
            }' "$list"
    done | awk 'NF == 0 { exit } { print }'
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -e "$list" ] || continue
        sed -nE "s/^[[:space:]]*deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+)[[:space:]]+$1[[:space:]].*/deb \1\2 $2 main/p" "$list"
    done | head -n 1
}

# apt_source_file PATH: writes the source on stdin to PATH, with the ending by which apt knows its form.
apt_source_file() {
    local source ending=list
    source="$(cat)"
    [ "${source#Types:}" = "$source" ] || ending=sources
    as_root tee "$1.$ending" <<<"$source" >/dev/null
}

# The URI of this machine's own Debian archive.
debian_uri() {
    local source
    source="$(apt_source_like "$(. /etc/os-release && echo "$VERSION_CODENAME")" any)"
    sed -nE -e 's/^URIs:[[:space:]]*([^[:space:]]+).*/\1/p' \
        -e 's/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+).*/\2/p' <<<"$source" | head -n 1
}

# bare_debian SUITE TO LOG: makes the smallest Debian of SUITE in the new folder TO, with the archive and keys of this
# machine. Prints why not, and returns 1, where it cannot.
bare_debian() {
    local uri keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    uri="$(debian_uri)"
    if [ "$(id -u)" != 0 ]; then
        say "debootstrap needs root"
    elif ! command -v debootstrap >/dev/null; then
        say "debootstrap is not installed"
    elif [ -z "$uri" ]; then
        say "no Debian entry in /etc/apt to take an address from"
    elif ! debootstrap --variant=minbase --keyring="$keyring" "$1" "$2" "$uri" >"$3" 2>&1; then
        say "debootstrap of $1 failed: $(tail -n 1 "$3") (all in $3)"
    else
        return 0
    fi
    return 1
}

# debian_with_sources SUITE TO LOG: likewise a Debian that gets what it installs from where this machine does. SUITE may end
# with -backports: all that those have newer is taken from them.
debian_with_sources() {
    local own base="${1%-backports}"
    own="$(. /etc/os-release && echo "$VERSION_CODENAME")"
    bare_debian "$base" "$2" "$3" || return 1
    rm -f "$2/etc/apt/sources.list"
    add_source "$own" "$base" "$2"
    [ "$base" = sid ] || add_source "$own-security" "$base-security" "$2"
    if [ "$1" != "$base" ]; then
        add_source "$own" "$1" "$2"
        printf 'Package: *\nPin: release n=%s\nPin-Priority: 500\n' "$1" >"$2/etc/apt/preferences.d/backports"
    fi
    # How this machine gets at the archive, and whom it trusts.
    apt-config dump | grep -E '^Acquire::(http|https|Check-|Retries)' >"$2/etc/apt/apt.conf.d/90machine" || true
    cp /etc/hosts "$2/etc/hosts"
    mkdir -p "$2/usr/local/share/ca-certificates"
    cp -r /usr/local/share/ca-certificates/. "$2/usr/local/share/ca-certificates"
}

# add_source HAVE WANT TO: the tree TO gets suite WANT from where this machine gets suite HAVE, if it does.
add_source() {
    local source
    source="$(apt_source_like "$1" "$2")"
    [ -z "$source" ] || apt_source_file "$3/etc/apt/sources.list.d/$2" <<<"$source"
}
