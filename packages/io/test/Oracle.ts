import { readFileSync } from "node:fs"
import { assert } from "vitest"

/** What a C compiler says of Xen's headers (see abi.sh): `name value` a line. */
export const names: ReadonlyMap<string, number> = new Map(
  readFileSync(new URL("abi.x86_64.txt", import.meta.url), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const [, name, value] = /^(\S+(?: \S+)*?)\s+(\d+)$/.exec(line)!
      return [name!, Number(value)] as const
    })
)

export const of = (name: string): number => {
  const value = names.get(name)
  assert.isDefined(value, name)
  return value
}

export const size = (type: string) => of(`sizeof(${type})`)

export const offset = (struct: string, field: string) => of(`offsetof(struct ${struct},${field})`)
