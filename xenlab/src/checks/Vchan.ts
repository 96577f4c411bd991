/**
 * Vchans between a guest and dom0, with the library at one end and Debian's libxenvchan at the other: a C program of ours,
 * and `vchan-socket-proxy` as it comes.
 */
import * as Effect from "effect/Effect"
import { createHash } from "node:crypto"
import * as CPeer from "../CPeer.ts"
import * as Image from "../Image.ts"
import { type Event, type Machine, type Process, sh } from "../Machine.ts"
import { type Check, CheckError, type Lab, same } from "../Plan.ts"
import type { Context } from "./Sharing.ts"
import * as Tool from "./Tool.ts"

/** Who is at an end. */
type Who = "the library" | "C"

/** A domain in which an end runs. */
interface Place {
  readonly machine: Machine
  readonly domain: number
}

const places = (lab: Lab, { guest }: Context) => ({
  dom0: { machine: lab.dom0, domain: 0 },
  guest: { machine: guest, domain: guest.domain }
})

/** A vchan that is to be: who serves, who comes, and where. */
interface Setting {
  readonly server: Who
  readonly client: Who
  readonly serverIn: "dom0" | "guest"
  /** Sizes of the server's rings. */
  readonly left: number
  readonly right: number
}

/** Where the server publishes: in its own domain, but for this client, since several guests may come to dom0 at once. */
const pathOf = (server: Place, client: Place) => `/local/domain/${server.domain}/data/vchan-${client.domain}`

const programs = { "the library": ["node", `${Image.place}/vchan.mjs`], C: [CPeer.program] }

/** Starts one end. */
const start = (
  who: Who,
  side: "server" | "client",
  ours: Place,
  theirs: Place,
  { left, right }: Setting,
  { bytes, chunk, patience = "4 minutes" }: { readonly bytes: number; readonly chunk: number; readonly patience?: "4 minutes" | "9 minutes" }
) => {
  const path = side === "server" ? pathOf(ours, theirs) : pathOf(theirs, ours)
  const numbers = [left, right, bytes, bytes, chunk].map(String)
  return ours.machine.start([...programs[who], side, String(theirs.domain), path, ...numbers], { patience })
}

const both = (lab: Lab, context: Context, { serverIn }: Setting) => {
  const all = places(lab, context)
  return serverIn === "dom0" ? [all.dom0, all.guest] as const : [all.guest, all.dom0] as const
}

const figures = (bytes: number, { millis }: Event) => `${(bytes / 1000 / Number(millis)).toFixed(2)} MB/s each way`

/** So many bytes each way at once, compared by hash. */
const exchange = (lab: Lab, setting: Setting, bytes: number, chunk: number) => (context: Context) =>
  Effect.gen(function*() {
    const [ours, theirs] = both(lab, context, setting)
    const amount = { bytes, chunk, patience: "9 minutes" as const }
    const server = yield* start(setting.server, "server", ours, theirs, setting, amount)
    yield* server.expect("listening")
    const client = yield* start(setting.client, "client", theirs, ours, setting, amount)
    // The one that does something about it first: what goes wrong is there.
    yield* client.expect("connected")
    yield* server.expect("connected")
    const [one, other] = yield* Effect.all([server.expect("done"), client.expect("done")], { concurrency: 2 })
    yield* same("what the client took", [other["taken"], other["in"]], [bytes, one["out"]])
    yield* same("what the server took", [one["taken"], one["in"]], [bytes, other["out"]])
    yield* ended(server)
    yield* ended(client)
    yield* clean(lab, ours, theirs)
    return figures(bytes, one)
  })

const ended = Effect.fnUntraced(function*(process: Process) {
  const { code, signal } = yield* process.completed
  if (code !== 0) return yield* process.fail(`ended with ${signal ?? code}`)
})

/** Nothing is left where the server had published. */
const clean = Effect.fnUntraced(function*({ dom0 }: Lab, server: Place, client: Place) {
  const left = yield* sh(dom0, `xenstore-ls ${pathOf(server, client)} 2>/dev/null || true`)
  yield* same("what is left in xenstore", left, "")
})

/** When one is killed, in ms: any time, but the same for the same seed. */
const delay = (seed: number, ...check: ReadonlyArray<string>): number =>
  createHash("sha256").update(JSON.stringify([seed, ...check])).digest().readUInt16BE() % 500

/** One end is killed in the middle, the other is told, and both begin anew at the same place. */
const killed = (lab: Lab, setting: Setting, victim: "server" | "client", seed: number) => (context: Context) =>
  Effect.gen(function*() {
    const [ours, theirs] = both(lab, context, setting)
    const endless = { bytes: 2 ** 36, chunk: 16_384 }
    const server = yield* start(setting.server, "server", ours, theirs, setting, endless)
    yield* server.expect("listening")
    const client = yield* start(setting.client, "client", theirs, ours, setting, endless)
    yield* client.expect("connected")
    yield* server.expect("connected")
    // Some seconds until something has passed for sure: all is slow here.
    yield* Effect.sleep(3000 + delay(seed, context.guest.name, setting.server, setting.serverIn, victim))
    const [dies, lives] = victim === "server" ? [server, client] : [client, server]
    yield* dies.signal("SIGKILL")
    yield* same("the signal that ended it", (yield* dies.completed).signal, "SIGKILL")
    const last = yield* lives.expect("closed")
    yield* lives.completed
    if (Number(last["taken"]) === 0) return yield* new CheckError({ message: "nothing had passed: nothing was tested" })

    // The client first: what the dead server published may be there still, and is waited out.
    const little = { bytes: 1_000_000, chunk: 5000 }
    const [next, again] = victim === "server"
      ? [yield* start(setting.client, "client", theirs, ours, setting, little), undefined] as const
      : [undefined, undefined] as const
    const second = again ?? (yield* start(setting.server, "server", ours, theirs, setting, little))
    yield* second.expect("listening")
    const third = next ?? (yield* start(setting.client, "client", theirs, ours, setting, little))
    yield* third.expect("connected")
    yield* second.expect("connected")
    const [one, other] = yield* Effect.all([second.expect("done"), third.expect("done")], { concurrency: 2 })
    yield* same("what passed after it", [other["in"], one["in"]], [one["out"], other["out"]])
    yield* ended(second)
    yield* ended(third)
  })

const lines = "seq 1 100000"
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex")
const text = Array.from({ length: 100_000 }, (_, i) => `${i + 1}\n`).join("")
const expected = sha256(text)

/** The command line of our command as a process of its own. */
const command = (...args: ReadonlyArray<string | number>) => Tool.command(args).join(" ")

/** Debian's proxy serves in dom0, and our command comes from the guest. */
const proxyServes = (lab: Lab) => (context: Context) =>
  Effect.gen(function*() {
    const { dom0, guest } = places(lab, context)
    const path = pathOf(dom0, guest)
    // At the end of its input it may wait for a signal that nobody owes it: so that comes when all has passed. Not with cat,
    // whose splice keeps the pipe locked for its reader while it waits.
    const pipe = `(${lines}; read -r end) | ${CPeer.proxy} --mode=server ${guest.domain} ${path} -`
    const proxy = yield* dom0.machine.start(["sh", "-c", pipe], { patience: "4 minutes" })
    const ours = `${command("vchan", "connect", "--peer", 0, "--path", path)} </dev/null | head -c ${text.length} | sha256sum`
    const client = yield* guest.machine.start(["sh", "-c", ours], { patience: "4 minutes" })
    yield* same("what came from the proxy", (yield* client.nextLine).split(" ")[0], expected)
    yield* proxy.closeInput
    yield* ended(client)
    yield* proxy.completed
  })

/** Debian's proxy comes from dom0, and our command serves in the guest. */
const proxyComes = (lab: Lab) => (context: Context) =>
  Effect.gen(function*() {
    const { dom0, guest } = places(lab, context)
    const path = pathOf(guest, dom0)
    const ours = `${lines} | ${command("vchan", "listen", "--peer", 0, "--path", path, "--close")}`
    const server = yield* guest.machine.start(["sh", "-c", ours], { patience: "4 minutes" })
    // It ends at the end of its input, which does not come.
    const pipe = `${CPeer.proxy} --mode=client ${guest.domain} ${path} - | sha256sum`
    const proxy = yield* dom0.machine.start(["sh", "-c", pipe], { patience: "4 minutes" })
    yield* same("what came to the proxy", (yield* proxy.nextLine).split(" ")[0], expected)
    yield* ended(server)
  })

/** Text both ways, as people type it. */
const typed = (lab: Lab) => (context: Context) =>
  Effect.gen(function*() {
    const { dom0, guest } = places(lab, context)
    const path = pathOf(dom0, guest)
    const proxy = yield* dom0.machine.start([CPeer.proxy, "--mode=server", String(guest.domain), path, "-"], { patience: "4 minutes" })
    const ours = yield* guest.machine.start([...Tool.command(["vchan", "connect", "--peer", 0, "--path", path])], { patience: "4 minutes" })
    yield* proxy.send("from dom0\n")
    yield* same("what the guest sees", yield* ours.nextLine, "from dom0")
    yield* ours.send("from the guest\n")
    yield* same("what dom0 sees", yield* proxy.nextLine, "from the guest")
    yield* ours.signal("SIGTERM")
    yield* same("how the command ended", (yield* ours.completed).code, 143)
    yield* proxy.completed
  })

const megabytes = 1_000_000

/** Both ways around, in rings of all kinds; then the deaths; then the proxy. */
export const checks = (lab: Lab, seed: number): ReadonlyArray<Check<Context>> => {
  const big = { left: 65_536, right: 65_536 }
  const exchanges: ReadonlyArray<readonly [setting: Setting, bytes: number, chunk: number]> = [
    [{ server: "the library", client: "C", serverIn: "dom0", ...big }, 100 * megabytes, 65_536],
    [{ server: "C", client: "the library", serverIn: "dom0", ...big }, 100 * megabytes, 65_536],
    [{ server: "the library", client: "C", serverIn: "guest", left: 1024, right: 2048 }, megabytes, 5000],
    [{ server: "C", client: "the library", serverIn: "guest", left: 2048, right: 1024 }, megabytes, 5000],
    [{ server: "the library", client: "C", serverIn: "guest", left: 2 ** 20, right: 4096 }, 8 * megabytes, 65_536],
    [{ server: "C", client: "the library", serverIn: "guest", left: 2048, right: 2 ** 20 }, 8 * megabytes, 65_536]
  ]
  const deaths: ReadonlyArray<readonly [setting: Setting, victim: "server" | "client"]> = [
    [{ server: "the library", client: "C", serverIn: "guest", ...big }, "server"],
    [{ server: "the library", client: "C", serverIn: "dom0", ...big }, "client"],
    [{ server: "C", client: "the library", serverIn: "dom0", ...big }, "server"],
    [{ server: "C", client: "the library", serverIn: "guest", ...big }, "client"]
  ]
  const named = ({ client, left, right, server, serverIn }: Setting) =>
    `${server} serves in ${serverIn === "dom0" ? "dom0" : "the guest"} and ${client} comes, rings of ${left} and ${right} bytes`
  return [
    ...exchanges.map(([setting, bytes, chunk]): Check<Context> => ({
      limit: "20 minutes",
      name: `vchan: ${named(setting)}: ${bytes / megabytes} MB each way`,
      run: exchange(lab, setting, bytes, chunk)
    })),
    ...deaths.map(([setting, victim]): Check<Context> => ({
      name: `vchan: ${named(setting)}: kill -9 of the ${victim}; the other is told, and both begin anew`,
      run: killed(lab, setting, victim, seed)
    })),
    { name: "vchan: what people type, between vchan-socket-proxy in dom0 and the command in the guest", run: typed(lab) },
    { name: "vchan: vchan-socket-proxy serves, and the command takes all", run: proxyServes(lab) },
    { name: "vchan: the command serves, and vchan-socket-proxy takes all", run: proxyComes(lab) }
  ]
}
