// Calls a module as an import does, and gives it the comment at the head of its file. What is the same everywhere gets
// the same words: the field that tells one of several from the others, the message of an error, the values of a table of
// constants, and the parts of what a function gives, which are documented as a whole.
import { readFileSync } from "node:fs"
import { Comment, Converter, IntrinsicType, LiteralType, MinimalSourceFile, ReflectionKind } from "typedoc"

/** The function that a reflection is in the type of, if it is in one. */
const signatureOf = ({ parent }) =>
  parent === undefined || parent.kindOf(ReflectionKind.CallSignature) ? parent : signatureOf(parent)

/** The command of a shell that a reflection is a flag or an argument of, if it is one. */
const commandOf = ({ parent }) =>
  parent === undefined || parent.kindOf(ReflectionKind.Variable)
    ? parent?.type?.name === "Command" ? parent : undefined
    : commandOf(parent)

/** Types of constants that are not told by their values. */
const constants = ["number", "undefined"]

/** The table that a property is a value of, `trigger` or, where its values are tables, `details.s8`; if it is one. */
const tableOf = ({ parent }) => {
  const owner = parent?.parent
  if (owner?.kindOf(ReflectionKind.Variable)) return owner.name
  const table = owner?.kindOf(ReflectionKind.Property) ? tableOf(owner) : undefined
  return table === undefined ? undefined : `${table}.${owner.name}`
}

const words = (reflection) => {
  const { name, type } = reflection
  if (name === "_tag" || name === "type" && type instanceof LiteralType) return "Tells which of several it is."
  if (name === "message") return "What is wrong, where, and what can be done, for people."
  const command = commandOf(reflection)
  if (command !== undefined) return `What the command line has for it: \`xen-shbuf ${command.name} --help\` tells more.`
  const given = signatureOf(reflection)
  if (given !== undefined) return `A part of what \`${given.name}\` takes or gives.`
  const isConstant = type instanceof LiteralType || type instanceof IntrinsicType && constants.includes(type.name)
  if (!reflection.flags?.isReadonly || !isConstant) return undefined
  const table = tableOf(reflection)
  return table === undefined ? undefined : `One of \`${table}\`.`
}

const head = (converter, files, path) => {
  const [, comment] = /^\/\*\*(.*?)\*\//s.exec(readFileSync(path, "utf8")) ?? []
  if (comment === undefined) return undefined
  const text = comment.replace(/^ *\* ?/gm, "").replace(/^@.*/ms, "").trim()
  return new Comment(converter.parseRawComment(new MinimalSourceFile(text, path), files).content)
}

export const load = ({ converter, files }) => {
  converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const module of project.getReflectionsByKind(ReflectionKind.Module)) {
      const path = project.getSymbolIdFromReflection(module)?.fileName
      if (path !== undefined) module.comment ??= head(converter, files, path)
      module.name = module.name.replace(/^([^/]+)\/src\//, "@xen-shbuf/$1/")
    }
    for (const reflection of project.getReflectionsByKind(ReflectionKind.Property | ReflectionKind.GetSignature)) {
      const text = reflection.comment === undefined ? words(reflection) : undefined
      if (text !== undefined) reflection.comment = new Comment([{ kind: "text", text }])
    }
  })
}
