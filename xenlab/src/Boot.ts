/**
 * From nothing to a running Xen: provisions, assembles, bundles, boots dom0, and starts guests.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Semaphore from "effect/Semaphore"
import { createHash } from "node:crypto"
import { appendFileSync } from "node:fs"
import { createServer, type Server } from "node:net"
import { join } from "node:path"
import * as Grants from "./Grants.ts"
import * as Image from "./Image.ts"
import { cache, LabError } from "./Lab.ts"
import type { Machine } from "./Machine.ts"
import { say } from "./Progress.ts"
import * as Provision from "./Provision.ts"
import * as Qemu from "./Qemu.ts"
import type { GuestPlan } from "./Target.ts"
import * as Toolstack from "./Toolstack.ts"
import * as Tree from "./Tree.ts"

/** What to boot with. */
export interface Options {
  /** What to bundle into every domain besides the agent. */
  readonly entries: Image.Entries
  /** Folders of files to have in every domain, too. */
  readonly files?: ReadonlyArray<string> | undefined
  /** The folder for the consoles. What is in it goes away. */
  readonly results: string
}

/** A booted Xen with its dom0. */
export interface Booted {
  readonly dom0: Machine
  /** Xen's own list of active grants. */
  readonly grants: Effect.Effect<ReadonlyArray<Grants.Active>, Grants.ReadError>
  /** Where the consoles go. */
  readonly results: string
  /** The host's folder that dom0 sees as /mnt/lab. */
  readonly share: string
}

/** Keeps what a domain says besides its agent's reports. */
const transcript = (results: string, name: string) => (line: string): void =>
  appendFileSync(join(results, `${name}.log`), `${line}\n`)

/** A folder of this run in the cache. Folders of runs that were killed are removed. */
const runFolder = Effect.fnUntraced(function*(folder: string) {
  const fs = yield* FileSystem.FileSystem
  for (const name of yield* fs.readDirectory(folder)) {
    const pid = /^run-(\d+)-/.exec(name)?.[1]
    if (pid === undefined || (yield* fs.exists(`/proc/${pid}`))) continue
    yield* fs.remove(join(folder, name), { recursive: true, force: true })
  }
  return yield* fs.makeTempDirectoryScoped({ directory: folder, prefix: `run-${process.pid}-` })
})

/**
 * Keeps a folder from all other labs, which would write into the same logs. The name of a socket is taken, without a file:
 * it is free again when its process has ended, however that was.
 */
const claim = (folder: string) =>
  Effect.acquireRelease(
    Effect.callback<Server, LabError>((resume) => {
      const server = createServer()
      server.once("error", () =>
        resume(Effect.fail(new LabError({ step: "boot", detail: `another lab is at work with ${folder}: wait for it, or use another clone` }))))
      server.listen(`\0xenlab-${createHash("sha256").update(folder).digest("hex")}`, () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
  )

/** From nothing to a booted dom0, which lives as long as the scope. */
export const boot = Effect.fnUntraced(function*({ entries, files = [], results }: Options) {
  const fs = yield* FileSystem.FileSystem
  yield* claim(results)
  yield* fs.remove(results, { recursive: true, force: true })
  yield* fs.makeDirectory(results, { recursive: true })
  const folder = yield* cache
  yield* fs.makeDirectory(folder, { recursive: true })
  yield* Provision.host
  const run = yield* runFolder(folder)
  const base = yield* Tree.assemble(folder, run)
  const images = yield* Image.make(base, entries, files, run)
  const { console, dom0 } = yield* Qemu.boot(base, images, results, transcript(results, "dom0"))
  // Xen prints it on the one console: one reader at a time.
  const one = yield* Semaphore.make(1)
  const grants = one.withPermits(1)(Effect.provideService(Grants.read(console), FileSystem.FileSystem, fs))
  const booted: Booted = { dom0, grants, results, share: images.share }
  return booted
})

/** Starts a guest in the background. What it gives waits until the guest is up. */
export const startGuest = ({ dom0, results }: Booted, plan: GuestPlan) =>
  Toolstack.guest(dom0, plan, transcript(results, plan.name)).pipe(
    Effect.tap((guest) => say(`the guest ${plan.name} is up: domain ${guest.domain}`)),
    Effect.forkScoped,
    Effect.map(Fiber.join)
  )
