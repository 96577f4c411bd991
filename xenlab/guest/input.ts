/**
 * Prints what the kernel's input devices say, an event a line, as any program would read it: `struct input_event` from evdev.
 *
 * Usage: node input.mjs
 */
import { createReadStream, openSync, readdirSync, readFileSync } from "node:fs"

const say = (fields: object) => process.stdout.write(`${JSON.stringify(fields)}\n`)

const folder = "/dev/input"
const eventSize = 24

for (const name of readdirSync(folder).filter((name) => name.startsWith("event"))) {
  const device = readFileSync(`/sys/class/input/${name}/device/name`, "utf8").trim()
  let rest = Buffer.alloc(0)
  // What happens before it is open is not told.
  const fd = openSync(`${folder}/${name}`, "r")
  createReadStream("", { fd, highWaterMark: eventSize }).on("data", (chunk) => {
    rest = Buffer.concat([rest, chunk as Buffer])
    for (; rest.length >= eventSize; rest = rest.subarray(eventSize)) {
      const [type, code, value] = [rest.readUInt16LE(16), rest.readUInt16LE(18), rest.readInt32LE(20)]
      // Ends of reports say nothing.
      if (type !== 0) say({ event: "input", device, type, code, value })
    }
  })
  say({ event: "device", device })
}
say({ event: "ready" })
process.stdin.on("end", () => process.exit(0)).resume()
