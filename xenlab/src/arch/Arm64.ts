/**
 * The lab on arm64, where PVH is the only kind of guest.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type { Arch, GuestPlan, Unpack } from "../Target.ts"

/** Xen and Linux are plain images already. */
const asItIs: Unpack = (from, to) => Effect.flatMap(FileSystem.FileSystem, (fs) => fs.copyFile(from, to))

const pvh: GuestPlan = { name: "pvh", kind: "pvh", processor: 1 }
const other: GuestPlan = { name: "other", kind: "pvh", processor: 2 }

/** arm64. */
export const arch: Arch = {
  name: "arm64",
  debian: "arm64",
  npm: "arm64",
  triple: "aarch64-linux-gnu",
  loader: "/lib/ld-linux-aarch64.so.1",
  compiler: { command: "aarch64-linux-gnu-gcc", packages: ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"] },
  commands: [["qemu-system-aarch64", "qemu-system-arm"], ["qemu-aarch64-static", "qemu-user-static"]],
  runner: ["qemu-aarch64-static"],
  xenName: /^xen-[\d.]+-arm64$/,
  unpackXen: asItIs,
  unpackKernel: asItIs,
  virtio: ["virtio_mmio"],
  modules: [],
  qemu: "qemu-system-aarch64",
  bus: "device",
  options: ({ initrd, kernel, xen, xenOptions }) => [
    // The processor has pages of 16 KiB, too: most of those that QEMU knows have not.
    ...["-machine", "virt,gic-version=3,virtualization=on", "-cpu", "neoverse-n1"],
    ...["-kernel", xen, "-append", ["console=dtuart", "dtuart=/pl011@9000000", ...xenOptions].join(" ")],
    // The loader tells Xen where they are. Memory begins at 0x40000000, and QEMU's device tree is at 0x48000000.
    ...["-device", `guest-loader,addr=0x49000000,kernel=${kernel},bootargs=console=hvc0`],
    ...["-device", `guest-loader,addr=0x60000000,initrd=${initrd}`]
  ],
  guests: [pvh],
  pair: [pvh, other],
  policy: "silo",
  order: { AtomicsStore: ["stlrb ", "stlrh ", "stlr w", "stlr x"], AtomicsLoad: ["ldarb ", "ldarh ", "ldar w", "ldar x"] },
  isGeneral: true
}
