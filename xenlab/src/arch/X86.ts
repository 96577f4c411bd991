/**
 * The lab on x86: PV and PVH guests, dom0 paravirtualised.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Stream from "effect/Stream"
import { basename } from "node:path"
import { gunzipSync } from "node:zlib"
import * as Command from "../Command.ts"
import { LabError } from "../Lab.ts"
import type { Arch, GuestPlan } from "../Target.ts"

const xz = Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])

/** Takes the ELF out of a bzImage, which holds one xz stream: unpacking it under emulation costs 5 s for every domain. */
const unpackKernel = Effect.fnUntraced(function*(from: string, to: string) {
  const fs = yield* FileSystem.FileSystem
  const image = yield* fs.readFile(from)
  const at = Buffer.from(image.buffer, image.byteOffset, image.byteLength).indexOf(xz)
  if (at < 0) return yield* new LabError({ step: `unpack ${basename(from)}`, detail: "no xz stream in it" })
  yield* Command.run("sh", ["-c", `xz -dc --single-stream > "$0"`, to], { input: Stream.succeed(image.subarray(at)) })
})

/** QEMU's multiboot loader wants the ELF. */
const unpackXen = Effect.fnUntraced(function*(from: string, to: string) {
  const fs = yield* FileSystem.FileSystem
  yield* fs.writeFile(to, gunzipSync(yield* fs.readFile(from)))
})

const pv: GuestPlan = { name: "pv", kind: "pv", processor: 1 }
const pvh: GuestPlan = { name: "pvh", kind: "pvh", processor: 2 }

/** x86-64. */
export const arch: Arch = {
  name: "x86",
  debian: "amd64",
  npm: "x64",
  triple: "x86_64-linux-gnu",
  loader: "/lib64/ld-linux-x86-64.so.2",
  compiler: { command: "gcc", packages: ["gcc", "libc6-dev"] },
  commands: [["qemu-system-x86_64", "qemu-system-x86"]],
  runner: [],
  xenName: /^xen-.*\.gz$/,
  unpackXen,
  unpackKernel,
  virtio: ["virtio_pci"],
  modules: ["drm_xen_front"],
  qemu: "qemu-system-x86_64",
  // dom0 is paravirtualised: its DMA goes through swiotlb, which virtio only does when it says so.
  bus: "pci,disable-legacy=on,iommu_platform=on",
  options: ({ initrd, kernel, xen, xenOptions }) => [
    // With SMAP dom0 dies at its first page fault, with RDTSCP a PVH guest dies in Xen's instruction emulation, and
    // with XSAVE vector registers of one domain show up in another.
    ...["-cpu", "max,-smap,-smep,-rdtscp,-xsave"],
    ...["-kernel", xen, "-append", ["console=com1", "com1=115200,8n1", ...xenOptions].join(" ")],
    ...["-initrd", `${kernel} console=hvc0,${initrd}`]
  ],
  guests: [pv, pvh],
  pair: [pv, pvh],
  policy: "dummy",
  // Any load does.
  order: { AtomicsStore: ["xchgb ", "xchgw ", "xchgl ", "xchgq "], AtomicsLoad: [] },
  isGeneral: false
}
