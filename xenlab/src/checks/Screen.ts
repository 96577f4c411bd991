/**
 * A guest's screen and its sound in a browser: Linux's own drivers in the guest, `xen-shbuf screen` in dom0, and a real
 * browser on the host, which looks at its page.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Browser, BrowserContextOptions, Page } from "playwright-core"
import { join } from "node:path"
import * as World from "../../../packages/screen/test/World.ts"
import * as Noise from "../../guest/Noise.ts"
import * as Boot from "../Boot.ts"
import type * as Grants from "../Grants.ts"
import * as Console from "../Console.ts"
import { place } from "../Image.ts"
import { results } from "../Lab.ts"
import { type Machine, type Process, run, sh } from "../Machine.ts"
import * as Native from "../Native.ts"
import { type Check, CheckError, type Lab, same } from "../Plan.ts"
import type { GuestPlan } from "../Target.ts"
import type * as Toolstack from "../Toolstack.ts"
import * as Tunnel from "../Tunnel.ts"
import * as Display from "./Display.ts"
import * as Tool from "./Tool.ts"

/** The page that dom0 serves, and who looks at it. */
export interface Served {
  readonly browser: Browser
  readonly tunnel: Tunnel.Tunnel
}

/** A guest with a screen, and the page. */
export interface Context extends Served {
  readonly guest: Toolstack.Guest
}

const port = 8380
const size = { width: 800, height: 600 }
/** What `draw.c` makes its picture of. */
const seed = 21

const devices = [
  `vdispl=["backend=0,be-alloc=0,connectors=${seed}:${size.width}x${size.height}"]`,
  `vkb=["backend-type=linux"]`,
  "vsnd=[['card, backend=0, buffer-size=65536, short-name=Lab, sample-rates=48000, sample-formats=s16_le', " +
  "'pcm, name=lab', 'stream, unique-id=0, type=P']]"
]

/** Serves the page in dom0, and starts a browser here. */
export const serve = Effect.fnUntraced(function*(dom0: Machine) {
  yield* sh(dom0, "ifconfig lo 127.0.0.1 up")
  const server = yield* dom0.start(Tool.command(["screen", "--listen", `127.0.0.1:${port}`]), { patience: "3 minutes" })
  yield* server.expect("listening")
  const served: Served = {
    tunnel: yield* Tunnel.open(dom0, port),
    browser: yield* Effect.acquireRelease(Effect.promise(() => World.launch()), (browser) =>
      Effect.promise(() => browser.close()))
  }
  return served
})

/** Boots a guest with a screen and a keyboard, and loads their drivers. */
export const acquire = Effect.fnUntraced(function*(lab: Boot.Booted, served: Served, { kind, name, processor }: GuestPlan) {
  const guest = yield* yield* Boot.startGuest(lab, { name: `${name}-screen`, kind, processor, devices })
  yield* sh(guest, "modprobe -a drm_xen_front evdev snd_xen_front")
  const context: Context = { ...served, guest }
  return context
})

/** Whether a grant is this guest's. */
export const concerns = ({ guest }: Context, { granter }: Grants.Active): boolean => granter === guest.domain

/** Opens the page, as who looks at this guest; what it showed where a check fails is kept. */
const look = Effect.fnUntraced(function*({ browser, guest, tunnel }: Context, options?: BrowserContextOptions, script?: string) {
  const page = yield* World.open(browser, new URL(`http://127.0.0.1:${tunnel.port}/`), options, script)
  yield* Effect.addFinalizer((exit) =>
    Exit.isSuccess(exit) ? Effect.void : Effect.promise(() => page.screenshot({ path: join(results, `${guest.name}-failed.png`) })))
  return page
})

/** What a canvas must have of a frame of `draw.c`, 1 for that after the first flip. */
const frame = (number: number): Uint8Array => {
  const noise = Noise.noise(seed, size.width, size.height)
  const split = number * size.width
  const moved = new Uint32Array(noise.length)
  moved.set(noise.subarray(split))
  moved.set(noise.subarray(0, split), noise.length - split)
  return World.toCanvas(new Uint8Array(moved.buffer))
}

const shows = (page: Page, number: number) => World.shows(page, frame(number), { seconds: 120 })

const draw = Effect.fnUntraced(function*({ guest }: Context) {
  const file = (yield* sh(guest, Display.findCard(0))).trim()
  const program = yield* guest.start([Native.draw, file, "1", String(seed)], { patience: "3 minutes" })
  yield* program.expect("shown")
  yield* program.expect("flipped")
  return program
})

const flip = Effect.fnUntraced(function*(program: Process) {
  yield* program.send("flip 1\n")
  yield* program.expect("flipped")
})

const says = (page: Page, text: string) => Effect.promise(() => page.getByText(text).waitFor({ timeout: 120_000 }))

const seen: Check<Context>["run"] = (context) =>
  Effect.gen(function*() {
    const program = yield* draw(context)
    const page = yield* look(context)
    yield* shows(page, 1)
    const times: Array<string> = []
    for (const number of [2, 3]) {
      const begin = performance.now()
      yield* flip(program)
      yield* shows(page, number)
      times.push(`${Math.round(performance.now() - begin)} ms`)
    }
    // Two who look, one of whom comes late.
    const late = yield* look(context)
    yield* shows(late, 3)
    yield* context.tunnel.cut
    yield* flip(program)
    yield* Effect.all([shows(page, 4), shows(late, 4)])
    yield* program.send("off\n")
    yield* program.expect("off")
    yield* says(page, `${context.guest.name}, connector 0 shows nothing now.`)
    yield* program.send("end\n")
    yield* program.completed
    return `flips of noise, every pixel, were on the canvas after ${times.join(" and ")}`
  })

/** Types of events as Linux has them. */
const [key, relative] = [1, 2]

const typed: Check<Context>["run"] = (context) =>
  Effect.gen(function*() {
    const program = yield* draw(context)
    const page = yield* look(context)
    yield* shows(page, 1)
    const reader = yield* context.guest.start(["node", `${place}/input.mjs`], { patience: "3 minutes" })
    yield* Display.next(reader, "ready")
    const canvas = page.locator("canvas")
    yield* Effect.promise(async () => {
      await canvas.focus()
      await page.keyboard.press("Enter")
      await page.keyboard.press("Shift+KeyA")
      await canvas.click({ position: { x: 0, y: 0 } })
      await page.mouse.wheel(0, 100)
    })
    // The devices are independent: each has its own order.
    const told = { "Xen Virtual Keyboard": [] as Array<unknown>, "Xen Virtual Pointer": [] as Array<unknown> }
    while (told["Xen Virtual Keyboard"].length < 4 || told["Xen Virtual Pointer"].length < 3) {
      const { code, device, type, value } = yield* Display.next(reader, "input")
      if (type === key || type === relative) told[device as keyof typeof told].push([type, code, value])
    }
    yield* same("the keys, the button and the wheel that the guest's kernel tells of", told, {
      "Xen Virtual Keyboard": [[key, 42, 1], [key, 30, 1], [key, 30, 0], [key, 42, 0]],
      // A wheel that is turned away from its person, upwards, is above 0.
      "Xen Virtual Pointer": [[key, 0x110, 1], [key, 0x110, 0], [relative, 8, -1]]
    })
    yield* reader.closeInput
    yield* program.send("end\n")
    yield* program.completed
  })

/** Where the characters are on a keyboard of the United States, by the names that browsers give to keys. */
const keys: ReadonlyMap<string, string> = new Map([
  ...Array.from("abcdefghijklmnopqrstuvwxyz", (letter) => [letter, `Key${letter.toUpperCase()}`] as const),
  ...Array.from("ABCDEFGHIJKLMNOPQRSTUVWXYZ", (letter) => [letter, `Shift+Key${letter}`] as const),
  ...Array.from("0123456789", (digit) => [digit, `Digit${digit}`] as const),
  ...Array.from(")!@#$%^&*(", (sign, digit) => [sign, `Shift+Digit${digit}`] as const),
  [" ", "Space"],
  ["-", "Minus"],
  ["_", "Shift+Minus"],
  ["+", "Shift+Equal"],
  [".", "Period"],
  ["/", "Slash"],
  [":", "Shift+Semicolon"],
  ["~", "Shift+Backquote"]
])

/** The cells of a console: a picture of each, as text, row by row. */
const cell = { width: 8, height: 16 }
const columns = size.width / cell.width
const cellsOf = Effect.fnUntraced(function*(page: Page) {
  const data = yield* Effect.promise(() =>
    page.evaluate(`(() => {
      const canvas = document.querySelector("canvas")
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
      return Array.from(data.filter((_, i) => i % 4 === 1), (green) => green > 96 ? "1" : "0").join("")
    })()`) as Promise<string>)
  const cells: Array<string> = []
  for (let y = 0; y + cell.height <= size.height; y += cell.height) {
    for (let x = 0; x < size.width; x += cell.width) {
      const rows = Array.from({ length: cell.height }, (_, row) => (y + row) * size.width + x)
      cells.push(rows.map((at) => data.slice(at, at + cell.width)).join(""))
    }
  }
  return cells
})

/** Looks at a console again and again until something is there. */
const until = <A>(page: Page, what: string, find: (cells: ReadonlyArray<string>) => A | undefined) =>
  Effect.gen(function*() {
    for (let tries = 0; tries < 240; tries++) {
      const found = find(yield* cellsOf(page))
      if (found !== undefined) return found
      yield* Effect.sleep("500 millis")
    }
    return yield* new CheckError({ message: `the console does not show ${what}` })
  })

/** Where the cursor is: a cell that is full. */
const cursorOf = (cells: ReadonlyArray<string>) => cells.findIndex((cell) => cell !== "" && !cell.includes("0"))

const press = (page: Page, key: string) => Effect.promise(() => page.keyboard.press(key))

/** Types behind the cursor, no faster than it is seen: the kernel of a guest that is busy keeps a few keys, and loses others. */
const type = Effect.fnUntraced(function*(page: Page, text: string, cursor: number) {
  const atOnce = 5
  for (let done = 0; done < text.length; done += atOnce) {
    const part = text.slice(done, done + atOnce)
    for (const character of part) yield* press(page, keys.get(character)!)
    yield* until(page, part, (cells) => cursorOf(cells) === cursor + done + part.length ? true : undefined)
  }
})

/** All characters that are read, in a comment for the shell. */
const alphabet = `#${[...keys.keys()].filter((character) => !"# ".includes(character)).join("")}`

/** Tells kmscon of devices, as udev would. */
const asUdev = `
  mkdir -p /dev/pts /run/udev/data
  mount -t devpts pts /dev/pts
  for dev in /sys/class/drm/card?/dev /sys/class/input/event*/dev; do
    printf 'I:1\nE:ID_SEAT=seat0\nE:ID_INPUT=1\nE:ID_INPUT_KEYBOARD=1\nG:seat\nG:seat-master\nQ:seat\nQ:seat-master\n' > /run/udev/data/c$(cat $dev)
  done`

const answered: Check<Context>["run"] = (context) =>
  Effect.gen(function*() {
    const { guest } = context
    yield* sh(guest, asUdev)
    // An emulated guest may hear late that a key went up, which is no reason to repeat it.
    const kmscon = yield* guest.start([
      Console.program,
      ...["--font-engine", "8x16", "--xkb-layout", "us", "--xkb-repeat-delay", "60000", "--login", "--", "/bin/env", "PS1=", "/bin/sh"]
    ], { patience: "5 minutes" })
    const page = yield* look(context)
    yield* Effect.promise(() =>
      page.getByRole("button", { name: "Type into the guest", disabled: false }).click({ timeout: 120_000 }))
    // The shell says who it is, leaves a line empty, and asks for commands with nothing.
    const prompt = yield* until(page, "a prompt", (cells) => {
      const cursor = cursorOf(cells)
      const isEmpty = (row: number) => !cells.slice(row * columns, (row + 1) * columns).some((cell) => cell.includes("1"))
      const row = cursor / columns
      return row >= 3 && Number.isInteger(row) && isEmpty(row - 1) && !isEmpty(row - 2) ? cursor : undefined
    })
    yield* type(page, alphabet, prompt)
    // Now each character is told from the others.
    const learnt = yield* until(page, "what was typed", (cells) => {
      const glyphs = cells.slice(prompt, prompt + alphabet.length)
      const isWhole = new Set(glyphs).size === alphabet.length && glyphs.every((glyph) => glyph.includes("1"))
      return isWhole ? new Map(glyphs.map((glyph, i) => [glyph, alphabet[i]!])) : undefined
    })
    const read = (cells: ReadonlyArray<string>) =>
      cells.map((cell) => cell.includes("1") ? learnt.get(cell) ?? "?" : " ").join("")
    yield* press(page, "Enter")
    const next = yield* until(page, "another line", (cells) => cursorOf(cells) === prompt + columns ? prompt + columns : undefined)
    yield* type(page, "uname -a", next)
    yield* press(page, "Enter")
    const expected = (yield* sh(guest, "uname -a")).trim()
    yield* until(page, expected, (cells) => read(cells).includes(expected) ? true : undefined)
    yield* Effect.promise(() => page.screenshot({ path: join(results, `${guest.name}.png`) }))
    yield* kmscon.signal("SIGTERM")
    yield* kmscon.completed
    return expected
  })

/** One frame again and again, for a minute and a half: a quarter of what is possible to the left, half as much to the right. */
const compose = `
  printf '\\000\\040\\000\\360' > /tmp/sound
  for i in $(seq 22); do cat /tmp/sound /tmp/sound > /tmp/twice; mv /tmp/twice /tmp/sound; done`

const heard: Check<Context>["run"] = (context) =>
  Effect.gen(function*() {
    const { guest } = context
    yield* sh(guest, `${compose}; until [ -e /dev/snd/pcmC0D0p ]; do usleep 100000; done`)
    const page = yield* look(context, { bypassCSP: true }, World.recorder)
    yield* Effect.promise(() => page.getByRole("button", { name: "Sound", exact: true }).click({ timeout: 120_000 }))
    const player = yield* guest.start(["sh", "-c", "exec aplay -q -D hw:0,0 -t raw -f S16_LE -r 48000 -c 2 /tmp/sound /tmp/sound /tmp/sound /tmp/sound"], {
      patience: "8 minutes"
    })
    yield* World.hears(page, [0.25, -0.125], { seconds: 120 })
    yield* says(page, "48,000 Hz · stereo · delay")
    yield* Effect.promise(() => page.locator(".meter[aria-valuetext='-12 dB, -18 dB']").waitFor({ timeout: 120_000 }))
    yield* player.signal("SIGKILL")
    yield* player.completed
    yield* Effect.promise(() => page.getByText("closed", { exact: true }).waitFor({ timeout: 120_000 }))
  })

const gone = (lab: Lab): Check<Context>["run"] => (context) =>
  Effect.gen(function*() {
    const program = yield* draw(context)
    const page = yield* look(context)
    yield* shows(page, 1)
    yield* program.send("flip 100000\n")
    const { code, stderr } = yield* run(lab.dom0, ["xl", "destroy", String(context.guest.domain)])
    if (code !== 0) return yield* new CheckError({ message: `xl destroy says ${stderr}` })
    yield* says(page, "No guest shows a screen yet.")
  })

/** A guest, and those who look at it. */
export const checks: ReadonlyArray<Check<Context>> = [
  { name: "a browser's canvas has every pixel of the guest, before and after its connection was cut", run: seen },
  { name: "what is typed, clicked and turned in the browser arrives in the guest's input devices", run: typed },
  { name: "what aplay plays in the guest, the browser plays as well, until it is killed", run: heard },
  { name: "a text console: uname -a is typed in the browser, and its answer read from the picture", run: answered }
]

/** What ends the guest. */
export const lastChecks = (lab: Lab): ReadonlyArray<Check<Context>> => [
  { name: "xl destroy while a browser looks: its page says so", run: gone(lab) }
]
