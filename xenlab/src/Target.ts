/**
 * What the lab boots: a processor, the Debian release that Xen and Linux come from, the size of Linux's pages, and the
 * policy that Xen decides by.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { FileSystem } from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import type { LabError } from "./Lab.ts"

/** How a guest is virtualised. gntdev maps differently in each. */
export type Kind = "pv" | "pvh"

/** A guest to create. It has a processor of the machine to itself, and so has dom0: the first. */
export interface GuestPlan {
  readonly name: string
  readonly kind: Kind
  readonly processor: number
  /** More lines for its configuration: devices of dom0's. */
  readonly devices?: ReadonlyArray<string> | undefined
}

/** A command that the host must have, and the Debian package that it needs for that. */
export type HostCommand = readonly [command: string, name: string]

/** What Xen decides by which domains may share: all of them, or only those of which one is dom0. */
export type Policy = "dummy" | "silo"

/** A Debian release, and the Xen in it. */
export interface Release {
  readonly suite: "bookworm" | "trixie"
  readonly xen: "4.17" | "4.20"
}

/** What QEMU is started with, besides what is the same for every processor. */
export interface Machine {
  readonly xen: string
  readonly kernel: string
  readonly initrd: string
  /** Xen's command line, but for where its console is. */
  readonly xenOptions: ReadonlyArray<string>
}

/** Makes a file for QEMU of one of a package. */
export type Unpack = (from: string, to: string) => Effect.Effect<
  void,
  LabError | PlatformError,
  FileSystem | ChildProcessSpawner
>

/** What differs between the processors. */
export interface Arch {
  readonly name: "x86" | "arm64"
  /** The processor's name in Debian's packages, in npm's, and in paths of libraries. */
  readonly debian: string
  readonly npm: string
  readonly triple: string
  /** The path at which programs look for their loader. */
  readonly loader: string
  /** What compiles for it on the host, and the Debian packages that it needs. */
  readonly compiler: { readonly command: string; readonly packages: ReadonlyArray<string> }
  /** What the host must have for it. */
  readonly commands: ReadonlyArray<HostCommand>
  /** Put in front of its programs' command lines, it runs them on the host. */
  readonly runner: ReadonlyArray<string>
  /** Where Xen is in `boot`. */
  readonly xenName: RegExp
  readonly unpackXen: Unpack
  readonly unpackKernel: Unpack
  /** Kernel modules: those that QEMU's devices take, and drivers that only its kernels have. */
  readonly virtio: ReadonlyArray<string>
  readonly modules: ReadonlyArray<string>
  readonly qemu: string
  /** How QEMU names its virtio devices, and what each of them is told. */
  readonly bus: string
  readonly options: (machine: Machine) => ReadonlyArray<string>
  /** Those that go through all checks, each with dom0. */
  readonly guests: ReadonlyArray<GuestPlan>
  /** Two that share with each other. */
  readonly pair: readonly [GuestPlan, GuestPlan]
  /** What Debian's Xen decides by unless told otherwise. */
  readonly policy: Policy
  /** Instructions that V8's code for these must have, one for each width: they publish in order, and read in order. */
  readonly order: { readonly AtomicsStore: ReadonlyArray<string>; readonly AtomicsLoad: ReadonlyArray<string> }
  /** Whether what says nothing about a processor is checked on this one: once is enough, and it should be the quick one. */
  readonly isGeneral: boolean
}

/** What was asked for. */
export class Target extends Context.Service<Target, {
  readonly arch: Arch
  readonly release: Release
  readonly pages: "4k" | "16k"
  /** Undefined: whatever Xen decides by itself. */
  readonly xsm: Policy | undefined
}>()("xenlab/Target") {}

/** What the lab is made of, by Xen's version. */
export const releases: { readonly [xen in Release["xen"]]: Release } = {
  "4.17": { suite: "bookworm", xen: "4.17" },
  "4.20": { suite: "trixie", xen: "4.20" }
}
