/** What a program weighs that imports one thing of the packages: its bundle, and the processor time of the import. */
import { build } from "esbuild"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import * as Steps from "./Steps.ts"

/** Everything that modules export. */
const all = (...names: ReadonlyArray<string>) => names.map((name, n) => `export * as _${n} from "${name}"\n`).join("")

/** Programs; the first is what a word of the field needs by itself. */
const cases: ReadonlyArray<{ readonly what: string; readonly source: string }> = [
  {
    what: "`effect/Schema`, without us",
    source: `import * as Schema from "effect/Schema"\n` +
      `export const Id = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 9 })).pipe(Schema.brand("Id"))\n`
  },
  { what: "`DomainId`", source: all("@xen-shbuf/core/DomainId") },
  { what: "`SharedBuffer`", source: all("@xen-shbuf/core/SharedBuffer") },
  {
    what: "`SharedBuffer`, `PeerBuffer` and `GntDev`",
    source: all("@xen-shbuf/core/SharedBuffer", "@xen-shbuf/core/PeerBuffer", "@xen-shbuf/xen-gntdev/GntDev")
  }
]

const tries = 9

/** Milliseconds of all threads to import a file of `project`, the least of some tries. */
const importTime = async (project: string, name: string): Promise<number> => {
  const program = `const before = process.cpuUsage()\nawait import("./${name}")\n` +
    `const { system, user } = process.cpuUsage(before)\nconsole.log((system + user) / 1000)\n`
  const file = join(project, "time.mjs")
  writeFileSync(file, program)
  const times: Array<number> = []
  for (let n = 0; n < tries; n++) {
    const ended = await Steps.run([process.execPath, file], { cwd: project })
    if (!ended.ok) throw new Error(ended.text)
    times.push(Number(ended.stdout))
  }
  return Math.min(...times)
}

const weigh = async (project: string, source: string) => {
  const program = "weight.mjs"
  const bundled = "weight.bundle.mjs"
  writeFileSync(join(project, program), source)
  await build({
    entryPoints: [join(project, program)],
    outfile: join(project, bundled),
    bundle: true,
    minify: true,
    platform: "node",
    format: "esm",
    external: ["koffi"],
    logLevel: "silent"
  })
  const bundle = readFileSync(join(project, bundled))
  return {
    bytes: bundle.length,
    gzip: gzipSync(bundle).length,
    packages: await importTime(project, program),
    bundle: await importTime(project, bundled)
  }
}

const kilobytes = (bytes: number) => `${Math.round(bytes / 1000)} kB`

/**
 * Prints a table of what they weigh, and finds out whether a page states other sizes than these: sizes don't depend on the
 * machine, and times do.
 */
export const check = async (project: string, page: string): Promise<Steps.Result> => {
  const text = readFileSync(page, "utf8")
  const wrong: Array<string> = []
  for (const { source, what } of cases) {
    const { bundle, bytes, gzip, packages } = await weigh(project, source)
    const sizes = `| ${what} | ${kilobytes(bytes)} | ${kilobytes(gzip)} |`
    console.log(`${sizes} ${packages.toFixed(0)} ms | ${bundle.toFixed(0)} ms |`)
    if (!text.includes(sizes)) wrong.push(`${page} does not say ${sizes}`)
  }
  return { ok: wrong.length === 0, text: wrong.join("\n") }
}
