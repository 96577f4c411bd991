/** Characters of what was given: enough to know it again, and no more than a log should take. */
const most = 200

/** What was given, in words: whatever it is, even an object that can't be made a string, and however long. */
export const text = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(value.length > most ? `${value.slice(0, most)}…` : value)
  if (typeof value === "bigint") return `the bigint ${String(value).slice(0, most)}`
  try {
    return String(value).slice(0, most)
  } catch {
    return `of type ${typeof value}`
  }
}
