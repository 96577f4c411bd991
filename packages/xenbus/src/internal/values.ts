import * as DomainIds from "@xen-shbuf/core/DomainId"
import * as GrantRefs from "@xen-shbuf/core/GrantRef"
import * as Ports from "@xen-shbuf/core/Port"
import { Decimal } from "@xen-shbuf/core/XenStore"
import * as Schema from "effect/Schema"

/** Words of the field as xenstore's values have them. */
export const GrantRef: Schema.Codec<GrantRefs.GrantRef, string> = Decimal.pipe(Schema.decodeTo(GrantRefs.GrantRef))
export const Port: Schema.Codec<Ports.Port, string> = Decimal.pipe(Schema.decodeTo(Ports.Port))
export const DomainId: Schema.Codec<DomainIds.DomainId, string> = Decimal.pipe(Schema.decodeTo(DomainIds.DomainId))
