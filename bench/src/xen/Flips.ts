/**
 * Measures page flips of guests with Linux's own display driver: the library as the backend in dom0 against a C program that
 * does nothing but answer the ring. Each has a guest of its own.
 */
import * as Effect from "effect/Effect"
import * as Boot from "../../../xenlab/src/Boot.ts"
import * as Display from "../../../xenlab/src/checks/Display.ts"
import * as Image from "../../../xenlab/src/Image.ts"
import { type Process, sh } from "../../../xenlab/src/Machine.ts"
import * as Native from "../../../xenlab/src/Native.ts"
import type { Kind } from "../../../xenlab/src/Toolstack.ts"
import * as Report from "../Report.ts"
import * as Served from "./Served.ts"

/** A backend in dom0, and the program that flips in its guest. */
interface Side {
  readonly pid: number
  readonly program: Process
}

/** Boots the guest of a backend that waits for it, and shows the first frame. */
const guestOf = Effect.fnUntraced(function*(
  lab: Boot.Booted,
  backend: Served.Backend,
  { kind, name, processor }: { readonly kind: Kind; readonly name: string; readonly processor: number }
) {
  const devices = [`vdispl=["backend=0,be-alloc=0,connectors=id:800x600"]`]
  const guest = yield* yield* Boot.startGuest(lab, { name: `${kind}-${name}`, kind, processor, devices })
  yield* sh(guest, "modprobe drm_xen_front")
  yield* backend.process.expect("connected")
  const card = (yield* sh(guest, Display.findCard(0))).trim()
  const program = yield* guest.start([Native.draw, card, "0", "1"], { patience: "10 minutes" })
  yield* program.expect("shown")
  const side: Side = { pid: backend.pid, program }
  return { side, domain: guest.domain }
})

/** So many flips: µs of each, from the program's call until it hears that the frame is shown. */
const flip = Effect.fnUntraced(function*({ program }: Side, times: number) {
  yield* program.send(`turn ${times}\n`)
  const { millis } = yield* program.expect("flipped")
  return Number(millis) * 1000 / times
})

const compare = Effect.fnUntraced(function*(lab: Boot.Booted, kind: Kind, isQuick: boolean) {
  const { dom0 } = lab
  const c = yield* Served.start(dom0, ["taskset", "1", `${Image.place}/display`])
  const { domain, side: theirs } = yield* guestOf(lab, c, { kind, name: "c", processor: 1 })
  const node = yield* Served.start(dom0, ["taskset", "1", "node", `${Image.place}/display.mjs`, String(domain)])
  const { side: ours } = yield* guestOf(lab, node, { kind, name: "node", processor: 2 })

  const work = (side: Side, times: number) => ({ pid: side.pid, once: flip(side, times), times })
  const both = (times: number) => ({ ours: work(ours, times), theirs: work(theirs, times) })
  const times = isQuick ? 50 : 100
  // V8 and the emulator compile what runs often.
  yield* flip(theirs, times)
  yield* flip(ours, isQuick ? times : 20_000)
  const rows = yield* Served.compare(dom0, both(times), {
    kind,
    what: "a flip, until the guest's program hears of it",
    rounds: isQuick ? 3 : 21,
    target: 1.2
  })
  const counted = yield* Served.count(dom0, both(200), kind)
  return { rows, counted }
}, Effect.scoped)

/** Measures it all. */
export const sections = Effect.fnUntraced(function*(lab: Boot.Booted, where: string, isQuick: boolean) {
  const measured = yield* Effect.forEach(["pv", "pvh"] as const, (kind) => compare(lab, kind, isQuick))
  return [
    Report.section<Served.Time>({
      name: "xen-flips",
      title: "A page flip",
      about: "A guest with Linux's own display driver flips between two buffers of 800×600 pixels that it does not draw in, " +
        "one at a time. In dom0 the library hands each picture, mapped, to a viewer that looks at one pixel; in another " +
        "guest's turn a C program answers the ring and does nothing else (`bench/c/display.c`).",
      where,
      columns: [
        ...Served.timeColumns,
        { title: "target", show: ({ ratio, target }) => target === undefined ? "" : Report.atMost(target, ratio.median) }
      ],
      rows: measured.flatMap(({ rows }) => rows),
      plots: []
    }),
    Report.section<Served.Counted>({
      name: "xen-flips-calls",
      title: "System calls of a page flip",
      about: "Of the same flips, all threads, counted with strace: two signals to the guest (`ioctl`), and one from it, which " +
        "is read, and written back so that the next may come. C waits in `read`. Node looks with `epoll_pwait` before it " +
        "waits with it, so a flip that comes alone takes six. Where strace makes the backend slower than the guest, the next " +
        "flip is there before the backend waits again, and takes less. The time is asked for by a system call only where " +
        "dom0 is paravirtualised, as here.",
      where,
      columns: Served.callColumns(4),
      rows: measured.flatMap(({ counted }) => counted),
      plots: []
    })
  ]
})
