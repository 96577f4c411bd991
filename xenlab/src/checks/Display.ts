/**
 * Displays and keyboards of guests: Linux's own drivers on one side, ours in dom0 on the other. Every picture is compared,
 * pixel by pixel, with what was drawn.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type { Options, Request, Seen } from "../../guest/display.ts"
import * as Boot from "../Boot.ts"
import type * as Grants from "../Grants.ts"
import * as Image from "../Image.ts"
import { type Machine, type Process, run, sh } from "../Machine.ts"
import * as Native from "../Native.ts"
import { type Check, CheckError, type Lab, type Part, same } from "../Plan.ts"
import type { GuestPlan } from "../Target.ts"
import type * as Toolstack from "../Toolstack.ts"

/** A guest with displays, and what runs in dom0 for it. */
export interface Context {
  readonly guest: Toolstack.Guest
  readonly kind: Toolstack.Kind
  readonly backend: Backend
}

/** The backend's process in dom0. Some checks kill it, and start another. */
export interface Backend {
  process: Process
  pid: number
  /** What it has logged. */
  readonly logs: Array<string>
  readonly restart: (options?: Partial<Options>) => Effect.Effect<void, unknown>
}

/** Displays of a guest: each is a card, with its connectors. A connector's name is its picture's seed. */
const cards = (kind: Toolstack.Kind) => [
  { alloc: 0, connectors: [[11, 800, 600], [12, 1920, 1080]] },
  // As many as the driver takes: 3840×2160 has no mode there.
  { alloc: 0, connectors: [[13, 4095, 2047]] },
  // In a PV guest Linux can't use what the backend has allocated.
  { alloc: kind === "pvh" ? 1 : 0, connectors: [[14, 800, 600]] }
] as const

const seedsOf = (kind: Toolstack.Kind, card: number) => cards(kind)[card]!.connectors.map(([seed]) => seed)

/** What xl is told of them. */
const devices = (kind: Toolstack.Kind): ReadonlyArray<string> => [
  `vdispl=[${
    cards(kind).map(({ alloc, connectors }) =>
      `"backend=0,be-alloc=${alloc},connectors=${connectors.map(([id, w, h]) => `${id}:${w}x${h}`).join(";")}"`
    ).join(",")
  }]`,
  `vkb=["backend-type=linux"]`
]

const node = (name: string, ...args: ReadonlyArray<string>) => ["node", `${Image.place}/${name}.mjs`, ...args]

const standard: Options = { allocate: true, frameRate: null, look: true }

/** Starts the backend in dom0. */
export const start = Effect.fnUntraced(function*(dom0: Machine) {
  const scope = yield* Effect.scope
  const begin = (options: Partial<Options>) =>
    Effect.gen(function*() {
      const process = yield* dom0.start(node("display", JSON.stringify({ ...standard, ...options })), {
        patience: "3 minutes"
      })
      const { pid } = yield* process.expect("ready")
      return { process, pid: Number(pid) }
    }).pipe(Effect.provideService(Scope.Scope, scope))
  const backend: Backend = {
    ...yield* begin({}),
    logs: [],
    restart: (options = {}) => Effect.map(begin(options), (begun) => void Object.assign(backend, begun))
  }
  return backend
})

interface Event {
  readonly event: string
  readonly [field: string]: unknown
}

/** The next event of these. */
export const next = (process: Process, ...wanted: ReadonlyArray<string>): Effect.Effect<Event, unknown> =>
  Effect.flatMap(process.nextLine, (line) => {
    const event = JSON.parse(line) as Event
    return wanted.includes(event.event) ? Effect.succeed(event) : next(process, ...wanted)
  })

/** The backend's next event of these. */
const told = ({ logs, process }: Pick<Backend, "logs" | "process">, ...wanted: ReadonlyArray<string>): Effect.Effect<Event, unknown> =>
  Effect.flatMap(next(process, "log", ...wanted), (event) => {
    if (event.event !== "log") return Effect.succeed(event)
    logs.push(String(event["text"]))
    return told({ logs, process }, ...wanted)
  })

/** A check that fails tells what the backend has logged. */
const explained = ({ name, run }: Check<Context>): Check<Context> => ({
  name,
  run: (context, part) =>
    Effect.gen(function*() {
      const { logs } = context.backend
      return yield* Effect.catch(run(context, part), (error) =>
        Effect.andThen(
          Effect.ignore(Effect.timeout(report(context.backend), "10 seconds")),
          new CheckError({ message: [error instanceof Error ? error.message : String(error), ...logs].join("\n  logged: ") })
        ))
    })
})

const ask = (process: Process, request: Request) => process.send(`${JSON.stringify(request)}\n`)

/** What was seen since it was asked before. */
const report = Effect.fnUntraced(function*(backend: Backend) {
  yield* ask(backend.process, { do: "report" })
  return (yield* told(backend, "report"))["seen"] as { readonly [seed: string]: Seen }
})

/** Prints the card of a guest's display, as soon as it is there; their numbers are in no order. */
export const findCard = (display: number) => `
  for t in $(seq 300); do
    for card in /sys/class/drm/card?; do
      [ "$(basename "$(readlink -f $card/device)")" = vdispl-${display} ] && echo /dev/dri/$(basename $card) && exit
    done
    sleep 0.1
  done
  ls -l /sys/class/drm >&2
  exit 1`

/** Boots a guest with its displays, and loads their driver. */
export const acquire = Effect.fnUntraced(function*(lab: Boot.Booted, backend: Backend, { kind, name, processor }: GuestPlan) {
  const guest = yield* yield* Boot.startGuest(lab, { name: `${name}-display`, kind, processor, devices: devices(kind) })
  yield* sh(guest, "modprobe -a drm_xen_front evdev")
  const context: Context = { guest, kind, backend }
  return context
})

/** Draws in the guest; the connectors show their first frames then. */
const draw = Effect.fnUntraced(function*({ guest, kind }: Context, card: number, flips: number) {
  const seeds = seedsOf(kind, card)
  const file = (yield* sh(guest, findCard(card))).trim()
  const program = yield* guest.start([Native.draw, file, `${flips}`, ...seeds.map(String)], {
    patience: "8 minutes"
  })
  for (const [, width, height] of cards(kind)[card]!.connectors) {
    const shown = yield* program.expect("shown")
    yield* same("the size of the mode", [shown["width"], shown["height"]], [width, height])
  }
  return program
})

const end = Effect.fnUntraced(function*(program: Process) {
  yield* program.send("end\n")
  yield* program.expect("ended")
  yield* program.completed
})

/** Every flip was seen, and every pixel of it was right. */
const allRight = Effect.fnUntraced(function*({ backend, kind }: Context, card: number, flips: number) {
  const seen = yield* report(backend)
  for (const [seed, width, height] of cards(kind)[card]!.connectors) {
    const counts = seen[seed]
    if (counts === undefined) return yield* new CheckError({ message: `nothing was seen of connector ${seed}` })
    yield* same("wrong frames", counts.wrong, 0)
    yield* same("the frames' size", [counts.width, counts.height, counts.format], [width, height, "XR24"])
    if (counts.right < flips) {
      return yield* new CheckError({ message: `${counts.right} of ${flips} frames were seen of connector ${seed}` })
    }
  }
})

const flipping = (card: number, flips: number): Check<Context>["run"] => (context) =>
  Effect.gen(function*() {
    yield* report(context.backend)
    const program = yield* draw(context, card, flips)
    const { millis } = yield* program.expect("flipped")
    yield* end(program)
    yield* allRight(context, card, flips)
    return `${(flips / (Number(millis) / 1000)).toFixed(1)} flips a second`
  })

const offAndOn: Check<Context>["run"] = (context) =>
  Effect.gen(function*() {
    yield* report(context.backend)
    const program = yield* draw(context, 0, 3)
    yield* program.expect("flipped")
    for (let round = 0; round < 5; round++) {
      for (const command of ["off", "on"]) {
        yield* program.send(`${command}\n`)
        yield* program.expect(command)
      }
      yield* program.send("flip 3\n")
      yield* program.expect("flipped")
    }
    yield* end(program)
    const seen = yield* report(context.backend)
    yield* same("wrong frames", Object.values(seen).map(({ wrong }) => wrong), [0, 0])
    if (Object.values(seen).some(({ dark, right }) => dark < 5 || right < 18)) {
      return yield* new CheckError({ message: `it saw ${JSON.stringify(seen)}` })
    }
    return undefined
  })

const killed: Check<Context>["run"] = (context) =>
  Effect.gen(function*() {
    for (let round = 0; round < 3; round++) {
      const program = yield* draw(context, 0, 5)
      yield* program.expect("flipped")
      yield* program.send("flip 100000\n")
      yield* Effect.sleep(`${300 * (round + 1)} millis`)
      yield* program.signal("SIGKILL")
      yield* program.completed
    }
    yield* flipping(0, 5)(context, nothing)
  })

const nothing: Part = () => Effect.void

/** Keys, a pointer and touches as they come out of the guest's kernel, which tells only of places that are other ones. */
const typing = (x: number, contact: number): Check<Context>["run"] => ({ backend, guest }) =>
  Effect.gen(function*() {
    const reader = yield* guest.start(node("input"))
    let line = yield* reader.expect("device").pipe(Effect.map(({ device }) => [String(device)]))
    for (;;) {
      const event = yield* next(reader, "device", "ready")
      if (event["event"] === "ready") break
      line = [...line, String(event["device"])]
    }
    for (const device of ["Xen Virtual Keyboard", "Xen Virtual Pointer", "Xen Virtual Multi-touch"]) {
      if (!line.includes(device)) return yield* new CheckError({ message: `no ${device} among ${line.join(", ")}` })
    }
    yield* ask(backend.process, {
      do: "send",
      events: [
        { _tag: "Key", pressed: true, code: 30 },
        { _tag: "Key", pressed: false, code: 30 },
        { _tag: "Position", x, y: 32_767, wheel: 0 },
        { _tag: "Key", pressed: true, code: 0x110 },
        { _tag: "Key", pressed: false, code: 0x110 },
        { _tag: "Position", x, y: 32_766, wheel: -2 },
        { _tag: "Touch", touch: { _tag: "Down", contact, x: x / 16, y: x / 16 } },
        { _tag: "Touch", touch: { _tag: "Sync", contact } },
        { _tag: "Touch", touch: { _tag: "Up", contact } },
        { _tag: "Touch", touch: { _tag: "Sync", contact } }
      ]
    })
    const { keyboards } = yield* told(backend, "sent")
    if (keyboards === 0) return yield* new CheckError({ message: "no keyboard is connected" })
    const expected = [
      ["Keyboard", 1, 30, 1],
      ["Keyboard", 1, 30, 0],
      ["Pointer", 3, 0, x],
      ["Pointer", 3, 1, 32_767],
      ["Pointer", 1, 0x110, 1],
      ["Pointer", 1, 0x110, 0],
      ["Pointer", 3, 1, 32_766],
      ["Pointer", 2, 8, 2]
    ]
    const found = []
    const touches = []
    while (found.length < expected.length || touches.length < 5) {
      const { code, device, type, value } = yield* next(reader, "input")
      const name = String(device).replace("Xen Virtual ", "")
      if (name === "Multi-touch") touches.push([type, code, value])
      else found.push([name, type, code, value])
    }
    // The devices are independent: each has its own order.
    const of = (events: ReadonlyArray<ReadonlyArray<unknown>>, name: string) => events.filter(([device]) => device === name)
    yield* same("what the keyboard said", of(found, "Keyboard"), of(expected, "Keyboard"))
    yield* same("what the pointer said", of(found, "Pointer"), of(expected, "Pointer"))
    yield* reader.closeInput
    return JSON.stringify(touches)
  })

/**
 * The same from another backend: Linux keeps a keyboard's page, and an index that began anew would keep it busy for minutes. All
 * guests hear what is typed for one.
 */
const typingAgain: Check<Context>["run"] = (context, part) =>
  (context.kind === "pv" ? typing(8000, 0) : typing(4000, 1))(context, part)

/** The system calls of our side for a flip, from the request to the event, counted by strace. */
const systemCalls = (lab: Lab): Check<Context>["run"] => (context) =>
  Effect.gen(function*() {
    const flips = 200
    const program = yield* draw(context, 2, 3)
    yield* program.expect("flipped")
    const strace = yield* lab.dom0.start(["strace", "-f", "-c", "-o", "/tmp/calls", "-p", String(context.backend.pid)])
    yield* Effect.sleep("2 seconds")
    yield* program.send(`flip ${flips}\n`)
    yield* program.expect("flipped")
    yield* strace.signal("SIGINT")
    yield* strace.completed
    yield* end(program)
    const table = yield* sh(lab.dom0, "cat /tmp/calls")
    const rows = [...table.matchAll(/^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$/gm)]
      .map(([, calls, name]) => [name!, Number(calls) / flips] as const)
      .filter(([name, calls]) => name !== "total" && calls >= 0.1)
    const sum = rows.reduce((all, [, calls]) => all + calls, 0)
    return `${sum.toFixed(1)} system calls a flip: ${rows.map(([name, calls]) => `${name} ${calls.toFixed(1)}`).join(", ")}`
  })

/** What each domain has mapped of the other. */
const between = ({ guest }: Context, grants: ReadonlyArray<Grants.Active>) =>
  grants.filter(({ granter, mapper }) => granter === guest.domain || mapper === guest.domain)

/** The backend is killed, and another takes the connections down: then the driver begins anew. */
const backendKilled = (lab: Lab): Check<Context>["run"] => (context) =>
  Effect.gen(function*() {
    const { backend, guest } = context
    const program = yield* draw(context, 2, 3)
    yield* program.expect("flipped")
    yield* program.send("flip 100000\n")
    yield* Effect.sleep("300 millis")
    yield* backend.process.signal("SIGKILL")
    yield* backend.process.completed
    yield* Effect.sleep("500 millis")
    // What dom0 allocated the guest still has.
    const left = between(context, yield* lab.grants).filter(({ granter, ref }) => granter === guest.domain && ref >= 8)
    yield* same("what of the guest is mapped after the backend's death", left.length, 0)
    yield* backend.restart()
    const begin = performance.now()
    yield* program.signal("SIGKILL")
    yield* program.completed
    for (let display = 0; display < 3; display++) yield* told(backend, "connected")
    const millis = performance.now() - begin
    yield* flipping(2, 5)(context, nothing)
    return `the driver is back ${(millis / 1000).toFixed(1)} s after its program's end`
  })

const destroyed = (lab: Lab): Check<Context>["run"] => (context) =>
  Effect.gen(function*() {
    const { backend, guest } = context
    const program = yield* draw(context, 0, 5)
    yield* program.expect("flipped")
    yield* program.send("flip 100000\n")
    yield* Effect.sleep("500 millis")
    const begin = performance.now()
    const { code, stderr } = yield* run(lab.dom0, ["xl", "destroy", String(guest.domain)])
    const millis = performance.now() - begin
    if (code !== 0 || stderr.includes("unable to remove device")) {
      return yield* new CheckError({ message: `xl destroy says ${stderr}` })
    }
    for (let display = 0; display < 3; display++) yield* told(backend, "gone")
    for (let n = 0; n < 50 && between(context, yield* lab.grants).length > 0; n++) yield* Effect.sleep("100 millis")
    yield* same("what is left of the guest", between(context, yield* lab.grants), [])
    return `xl destroy took ${(millis / 1000).toFixed(1)} s`
  })

/** A guest by itself. */
export const checks = (lab: Lab, kind: Toolstack.Kind): ReadonlyArray<Check<Context>> => [
  { name: "800×600 and 1920×1080 on two connectors, 30 flips: every pixel is right", run: flipping(0, 30) },
  { name: "4095×2047, 5 flips", run: flipping(1, 5) },
  {
    name: `800×600, 500 flips${kind === "pvh" ? ", in buffers that dom0 allocated" : ""}`,
    run: flipping(2, 500)
  },
  { name: "turned off and on again five times", run: offAndOn },
  { name: "the program that draws is killed three times in the middle", run: killed },
  { name: "keys, pointer and touches arrive in the guest's input devices", run: typing(16_000, 1) },
  { name: "the system calls of a flip are counted", run: systemCalls(lab) }
].map(explained)

/** What ends the guest's displays, or the guest. */
export const lastChecks = (lab: Lab): ReadonlyArray<Check<Context>> => [
  { name: "the backend is killed and started again: the driver begins anew", run: backendKilled(lab) },
  { name: "keys, pointer and touches of the new backend arrive, and none again", run: typingAgain },
  { name: "xl destroy in the middle: nothing is left", run: destroyed(lab) }
].map(explained)

/** Two guests at once. */
export const both: Check<ReadonlyArray<Context>> = {
  name: "both guests draw on two connectors at once, 30 flips",
  run: (contexts) =>
    Effect.gen(function*() {
      yield* report(contexts[0]!.backend)
      const programs = yield* Effect.forEach(contexts, (context) => draw(context, 0, 30))
      for (const program of programs) {
        yield* program.expect("flipped")
        yield* end(program)
      }
      yield* allRight(contexts[0]!, 0, 60)
    })
}
