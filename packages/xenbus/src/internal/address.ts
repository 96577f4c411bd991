import * as DomainId from "@xen-shbuf/core/DomainId"
import { type InvalidInput, invalidInput } from "@xen-shbuf/core/Reason"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ConnectionError } from "../ConnectionError.ts"
import * as Reader from "./reader.ts"

/** What names a device, or devices. */
interface Address {
  readonly type: string
  readonly backendType?: string | undefined
  readonly frontend?: number
  readonly backend?: number | undefined
  readonly id?: number | undefined
}

const isName = Schema.is(Schema.String.check(Schema.isPattern(/^[A-Za-z0-9\-_@]{1,64}$/)))
const isDomainId = Schema.is(DomainId.DomainId)
const isNumber = Schema.is(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff_ffff })))

const name = "a name such as vdispl: 1 to 64 letters, digits, - _ and @"
const number = "a whole number from 0 to 4294967295"

const faultOf = (address: Address): InvalidInput | undefined => {
  const { backend, backendType, frontend, id, type } = address
  if (!isName(type)) return invalidInput("type", type, name)
  if (backendType !== undefined && !isName(backendType)) return invalidInput("backendType", backendType, name)
  if ("frontend" in address && !isDomainId(frontend)) return invalidInput("frontend", frontend, DomainId.expected)
  if (backend !== undefined && !isDomainId(backend)) return invalidInput("backend", backend, DomainId.expected)
  return id === undefined || isNumber(id) ? undefined : invalidInput("id", id, number)
}

/** Fails for what can't be: NaN, too, would be the name of a node. */
export const checked = (address: Address): Effect.Effect<void, ConnectionError> =>
  Effect.suspend(() => {
    const fault = faultOf(address)
    return fault === undefined ? Effect.void : Reader.fail("device", fault)
  })
