import * as Result from "effect/Result"

// What every runtime has, and the language's own library lacks.
declare const TextEncoder: new() => { readonly encode: (text: string) => Uint8Array<ArrayBuffer> }
declare const TextDecoder: new(
  encoding: string,
  options: { readonly fatal: boolean; readonly ignoreBOM: boolean }
) => { readonly decode: (bytes: Uint8Array) => string }

const encoder = new TextEncoder()
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

export const encode = (text: string): Uint8Array<ArrayBuffer> => encoder.encode(text)

/** The text of bytes of our own, which must be UTF-8. */
export const decode = (bytes: Uint8Array): Result.Result<string, void> =>
  Result.try({ try: () => strict.decode(bytes), catch: () => undefined })
