/**
 * The same as `frame.ts`, in a program that has loaded the whole command line tool before.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cli from "@xen-shbuf/cli/Cli"
import * as frame from "./frame.ts"

// So that no bundler leaves them out.
void [NodeServices.layer, Cli.run, frame].length
