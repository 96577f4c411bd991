import * as XenStoreLaws from "@xen-shbuf/testkit/XenStoreLaws"
import * as LawSuite from "@xen-shbuf/testkit/LawSuite"
import * as TestDomains from "@xen-shbuf/testkit/TestDomains"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Layer from "effect/Layer"

const domains = (frontend: number, backend: number) =>
  Layer.provide(TestDomains.layer({ frontend, backend }), TestXen.layer())

LawSuite.suite("two domains in memory", XenStoreLaws.laws, domains(1, 2))
LawSuite.suite("a guest and dom0 in memory", XenStoreLaws.laws, domains(1, 0), { runs: 10 })
LawSuite.suite("dom0 and a guest in memory", XenStoreLaws.laws, domains(0, 1), { runs: 10 })
LawSuite.suite("one domain in memory", XenStoreLaws.laws, domains(0, 0), { runs: 10 })
