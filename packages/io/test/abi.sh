#!/usr/bin/env bash
# Prints what a C compiler says of every name in abi.x86_64.txt, in its form: abi.sh gcc > abi.x86_64.txt
# Debian: libxen-dev. A name that is new gets a line with any number first.
set -euo pipefail
compiler=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{
  for header in stdint.h stddef.h stdio.h; do echo "#include <$header>"; done
  echo '#include <xen/xen.h>'
  for header in displif kbdif sndif; do echo "#include <xen/io/$header.h>"; done
  echo '#define XEN_ERRNO(name, value) XEN_##name = value,'
  echo 'enum {'
  echo '#include <xen/errno.h>'
  echo '};'
  echo 'int main(void) {'
  sed -nE 's/^([^#].*[^ ]) +[0-9]+( 0x[0-9a-f]+)?$/printf("%-70s %llu\\n", "\1", (unsigned long long) (\1));/p' \
    "$(dirname "$0")/abi.x86_64.txt"
  echo '}'
} > "$work/abi.c"
"$compiler" -o "$work/abi" "$work/abi.c"
version=$("$compiler" -dumpfullversion) machine=$("$compiler" -dumpmachine)
echo "# What gcc $version for $machine says of the headers of Xen: abi.sh prints it."
"$work/abi"
