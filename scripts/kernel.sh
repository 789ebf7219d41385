# Sourced by the scripts that boot virtual machines: Debian's kernels, and the drivers out of them.

# unpack_kernel META TO LOG [-t SUITE]: unpacks the newest kernel that apt's package META stands
# for into TO, unless one is there; TO/boot/vmlinux is the kernel itself. Nothing is installed.
# Returns 1 if there is none to be had.
unpack_kernel() {
    local meta="$1" to="$2" log="$3" package work
    shift 3
    # A newer kernel than the one unpacked is no reason to fetch again: any will do.
    [ ! -e "$to/boot/vmlinux" ] || return 0
    package="$(kernel_package "$meta" "$@")"
    if [ -z "$package" ]; then
        as_root apt-get update >>"$log" 2>&1 || return 1
        package="$(kernel_package "$meta" "$@")"
        [ -n "$package" ] || return 1
    fi
    work="$(mktemp -d)"
    mkdir -p "$(dirname "$to")"
    rm -rf "$to.partial"
    # An index older than the archive names a package that is gone.
    if (cd "$work" && { apt-get "$@" download "$package" ||
        { as_root apt-get update && apt-get "$@" download "$package"; }; }) >>"$log" 2>&1 &&
        dpkg-deb -x "$work/$package"_*.deb "$to.partial"; then
        # Since Debian 13 the drivers are in usr/lib, but kmod looks in lib, which is a link to it on a real machine.
        [ -d "$to.partial/lib" ] || ln -s usr/lib "$to.partial/lib"
        uncompress_kernel "$to.partial"/boot/vmlinuz-* "$to.partial/boot/vmlinux"
        rm -rf "$to"
        mv "$to.partial" "$to"
    fi
    rm -rf "$work"
    [ -e "$to/boot/vmlinux" ]
}

# uncompress_kernel FROM TO: an emulated processor takes as long to unpack its kernel as for all that it does then until
# it has started. Where the payload is no xz, TO is the same as FROM, which starts as well.
# Its place: `payload_offset` and `payload_length` in the kernel's Documentation/arch/x86/boot.rst.
uncompress_kernel() {
    /usr/bin/python3 - "$1" "$2" <<'END'
import lzma, sys
image = open(sys.argv[1], "rb").read()
number = lambda at: int.from_bytes(image[at:at + 4], "little")
payload = ((image[0x1f1] or 4) + 1) * 512 + number(0x248)
kernel = image[payload:payload + number(0x24c)]
known = kernel.startswith(b"\xfd7zXZ\0")
open(sys.argv[2], "wb").write(lzma.LZMADecompressor().decompress(kernel) if known else image)
END
}

# Kernel packages are named after their ABI: the meta package tells which one is current.
kernel_package() {
    local meta="$1"
    shift
    apt-cache "$@" depends "$meta" 2>/dev/null | sed -nE 's/.*Depends: (linux-image-[0-9].*)/\1/p' | head -n 1
}

# copy_drivers TREE TO DRIVER…: copies drivers out of an unpacked kernel, with what they depend on,
# uncompressed, and lists them in TO/order as they are to be loaded.
copy_drivers() {
    local tree="$1" to="$2" version path name paths
    shift 2
    version="$(basename "$tree"/lib/modules/*)"
    mkdir -p "$to"
    /sbin/depmod -b "$tree" "$version"
    paths="$(for driver in "$@"; do
        /sbin/modprobe -d "$tree" -S "$version" --show-depends "$driver"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }')"
    [ -n "$paths" ] || die "no drivers found in $tree"
    while read -r path; do
        name="$(basename "$path" .xz)"
        case "$path" in
            *.xz) xz -dc "$path" >"$to/$name" ;;
            *) cp "$path" "$to/$name" ;;
        esac
        echo "$name"
    done <<<"$paths" >"$to/order"
}
