#!/usr/bin/env bash
# Prints what a C compiler says of every name in abi.x86_64.txt, in its form.
#   abi.sh gcc > abi.x86_64.txt
#   abi.sh aarch64-linux-gnu-gcc qemu-aarch64-static > abi.aarch64.txt
# Debian: linux-libc-dev; gcc-aarch64-linux-gnu, linux-libc-dev-arm64-cross and qemu-user-static.
set -euo pipefail
compiler=$1 runner=${2-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{
  echo '#define _GNU_SOURCE'
  for header in stdint.h stddef.h stdio.h fcntl.h errno.h sys/ioctl.h sys/mman.h; do echo "#include <$header>"; done
  # The headers of the devices leave these two to the program.
  echo 'typedef uint16_t domid_t; typedef uint32_t grant_ref_t;'
  for header in gntalloc gntdev evtchn; do echo "#include <xen/$header.h>"; done
  echo 'int main(void) {'
  sed -nE 's/^([^#].*[^ 0-9x]) +[0-9]+( 0x[0-9a-f]+)?$/printf("%-70s %llu\\n", "\1", (unsigned long long) (\1));/p' \
    "$(dirname "$0")/abi.x86_64.txt"
  echo '}'
} > "$work/abi.c"
"$compiler" -static -o "$work/abi" "$work/abi.c"
version=$("$compiler" -dumpfullversion) machine=$("$compiler" -dumpmachine)
echo "# What gcc $version for $machine says of the headers of Linux and glibc: abi.sh prints it."
$runner "$work/abi"
