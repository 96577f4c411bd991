import * as EventChannelLaws from "@xen-shbuf/testkit/EventChannelLaws"
import * as LawSuite from "@xen-shbuf/testkit/LawSuite"
import * as TestDomains from "@xen-shbuf/testkit/TestDomains"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Layer from "effect/Layer"

const domains = (frontend: number, backend: number) =>
  Layer.provide(TestDomains.layer({ frontend, backend }), TestXen.layer())

LawSuite.suite("two domains in memory", EventChannelLaws.laws, domains(1, 2))
LawSuite.suite("one domain in memory", EventChannelLaws.laws, domains(0, 0), { runs: 10 })
