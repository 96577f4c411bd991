/**
 * Runs processes inside a domain for the host, over one character device (a virtio port in dom0, hvc0 in a guest).
 *
 * Plain Node on purpose: it is the first program of every domain, and emulation makes each module it loads cost.
 * Usage: node agent.mjs DEVICE
 */
import { type ChildProcess, spawn } from "node:child_process"
import { openSync, read, writeSync } from "node:fs"
import { StringDecoder } from "node:string_decoder"
import { mark, type Report, type Request } from "../src/Wire.ts"

const device = openSync(process.argv[2] ?? "/dev/hvc0", "r+")
const running = new Map<number, ChildProcess>()

const say = (report: Report): void => {
  const line = Buffer.from(`${mark}${JSON.stringify(report)}\n`)
  for (let sent = 0; sent < line.length;) sent += writeSync(device, line, sent)
}

const start = (id: number, argv: ReadonlyArray<string>, env: Readonly<Record<string, string>>): void => {
  const [command, ...args] = argv
  const child = spawn(command ?? "", args, { stdio: "pipe", env: { ...process.env, ...env } })
  running.set(id, child)
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].setEncoding("utf8").on("data", (text: string) => say({ event: "output", id, stream, text }))
  }
  // Input for a process that has just ended is no news: its exit is reported below.
  child.stdin.on("error", () => {})
  let done = false
  const ended = (code: number | null, signal: string | null): void => {
    if (done) return
    done = true
    running.delete(id)
    say({ event: "exit", id, code, signal })
  }
  child.on("error", (error) => {
    say({ event: "output", id, stream: "stderr", text: `${error.message}\n` })
    ended(127, null)
  })
  child.on("close", ended)
}

const obey = (request: Request): void => {
  switch (request.op) {
    case "hello":
      return say({ event: "ready", node: process.version })
    case "start":
      return start(request.id, request.argv, request.env)
    case "input":
      return void running.get(request.id)?.stdin?.write(request.text)
    case "close":
      return void running.get(request.id)?.stdin?.end()
    case "signal":
      return void running.get(request.id)?.kill(request.signal)
  }
}

const decoder = new StringDecoder("utf8")
const chunk = Buffer.alloc(65_536)
let rest = ""
const listen = (): void =>
  read(device, chunk, 0, chunk.length, null, (error, bytes) => {
    // A virtio port reads as ended while nobody is connected on the host's side: try again later.
    if (error !== null || bytes === 0) return void setTimeout(listen, 200)
    const lines = (rest + decoder.write(chunk.subarray(0, bytes))).split("\n")
    rest = lines.pop() ?? ""
    for (const line of lines) {
      // A console may hold noise from before the agent: only whole requests count.
      if (!line.startsWith("{")) continue
      try {
        obey(JSON.parse(line) as Request)
      } catch {
        continue
      }
    }
    listen()
  })
listen()
