import * as LawSuite from "@xen-shbuf/testkit/LawSuite"
import * as SharedBufferLaws from "@xen-shbuf/testkit/SharedBufferLaws"
import * as TestDomains from "@xen-shbuf/testkit/TestDomains"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Layer from "effect/Layer"

const domains = (frontend: number, backend: number, sharedPages?: number) =>
  Layer.provide(TestDomains.layer({ frontend, backend }), TestXen.layer({ sharedPages }))

LawSuite.suite("two domains in memory", SharedBufferLaws.laws, domains(1, 2))
LawSuite.suite("two domains in memory, limit raised", SharedBufferLaws.laws, domains(1, 0, 4096), { runs: 10 })
LawSuite.suite("one domain in memory", SharedBufferLaws.laws, domains(5, 5), { runs: 10 })
