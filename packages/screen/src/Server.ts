/**
 * Serves the page and its sockets over HTTP.
 *
 * Who may look: on loopback everybody on this machine, elsewhere whoever has the token in the address. A page of another
 * site can do neither, whoever looks at it: the socket takes only the origin that the address itself has, and without a
 * token only names of loopback, so that no foreign name can be made to mean this machine.
 *
 * @since 0.2.0
 */

import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import type * as HttpServer from "effect/http/HttpServer"
import type { ServeError } from "effect/http/HttpServerError"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import type * as Socket from "effect/socket/Socket"
import { createHash, timingSafeEqual } from "node:crypto"
import { createServer } from "node:http"
import * as Assets from "./Assets.ts"
import * as Listener from "./Listener.ts"
import { Screens } from "./Screens.ts"
import { Sounds } from "./Sounds.ts"
import * as Viewer from "./Viewer.ts"

/**
 * Who may look, and what they may do.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options extends Viewer.Options {
  /** Whoever has it may look, nobody where it is empty; needed wherever others than this machine's own users can reach the server. */
  readonly token?: string | undefined
  /** Under which path the page lies, such as "/xen"; "/" unless given. */
  readonly path?: string | undefined
  /** Viewers at one time, 32 unless given; as many may listen. */
  readonly viewers?: number | undefined
}

/**
 * Where a server listens.
 *
 * @category models
 * @since 0.2.0
 */
export interface Listening extends Options {
  /** A host's name or address, "127.0.0.1" unless given. */
  readonly host?: string | undefined
  /** 0 for one that is free. */
  readonly port: number
}

const digest = (text: string) => createHash("sha256").update(text).digest()

/** Whether a text is the token, in the same time whatever it is. Nobody has an empty one. */
const isToken = (token: string, text: string) => timingSafeEqual(digest(token), digest(text)) && token !== ""

/** The name in a Host header, without its port. */
const hostname = (host: string): string => host.replace(/:[0-9]+$/, "")

const loopback = /^(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])$/i

/** Why a request is refused, in a status; undefined for one that may go on. */
const refusal = (token: string | undefined, { headers, url }: HttpServerRequest.HttpServerRequest): number | undefined => {
  const host = headers["host"] ?? ""
  if (token === undefined) return loopback.test(hostname(host)) ? undefined : 421
  const given = new URLSearchParams(url.slice(url.indexOf("?") + 1)).get("token")
  return given !== null && isToken(token, given) ? undefined : 403
}

/** Whether a page of the same address asks: of the name that it was opened with, or that a proxy was. */
const isSameOrigin = ({ headers }: HttpServerRequest.HttpServerRequest): boolean => {
  const { origin } = headers
  if (origin === undefined || !URL.canParse(origin)) return false
  const { host } = new URL(origin)
  return host === headers["host"] || host === headers["x-forwarded-host"]
}

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; " +
  "connect-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const answer = ({ body, type }: Assets.Asset) =>
  HttpServerResponse.text(body, {
    contentType: type,
    headers: {
      "content-security-policy": policy,
      "cross-origin-resource-policy": "same-origin",
      "cross-origin-opener-policy": "same-origin",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
      "cache-control": "no-cache"
    }
  })

/**
 * The path of the page, with a slash at the beginning and at the end.
 *
 * @category combinators
 * @since 0.2.0
 */
export const pathOf = ({ path = "" }: Options): `/${string}` => `/${path.replace(/^\/+|\/+$/g, "")}/`.replace("//", "/") as `/${string}`

const refused = (status: number) =>
  HttpServerResponse.text(
    status === 403
      ? "The token in the address is missing or wrong: open the address that was printed at the start.\n"
      : "This server answers to localhost only: start it with a token to use another name.\n",
    { status }
  )

/** The page, or the way to it: what it loads is named from its own folder. */
const page = (base: string, html: HttpServerResponse.HttpServerResponse, url: string) => {
  const [path = "", query] = url.split("?")
  return path.endsWith("/")
    ? html
    : HttpServerResponse.empty({ status: 308, headers: { location: query === undefined ? base : `${base}?${query}` } })
}

/** Lets a request through that may look. */
const guarded = <E, R>(
  { token }: Options,
  handler: (request: HttpServerRequest.HttpServerRequest) => Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
) =>
(request: HttpServerRequest.HttpServerRequest) => {
  const status = refusal(token, request)
  return status === undefined ? handler(request) : Effect.succeed(refused(status))
}

/** Turns a request into a socket that is served, as long as there are not too many. */
const socket = <E>(options: Options, serve: (socket: Socket.Socket) => Effect.Effect<void, E>) => {
  const most = options.viewers ?? 32
  let viewers = 0
  const viewer = (request: HttpServerRequest.HttpServerRequest) =>
    Effect.matchEffect(request.upgrade, {
      onFailure: () => Effect.succeed(HttpServerResponse.text("This address is for WebSockets.\n", { status: 426 })),
      onSuccess: (socket) => Effect.as(Effect.ignore(serve(socket)), HttpServerResponse.empty())
    })
  return guarded(options, (request) =>
    Effect.suspend(() => {
      if (!isSameOrigin(request)) return Effect.succeed(HttpServerResponse.text("Another site's page.\n", { status: 403 }))
      if (viewers >= most) return Effect.succeed(HttpServerResponse.text("Too many viewers.\n", { status: 503 }))
      viewers++
      return Effect.ensuring(viewer(request), Effect.sync(() => viewers--))
    }))
}

/**
 * The routes of the page, for a server of the application's own: Effect's `HttpRouter.serve` makes one of them.
 *
 * @category layers
 * @since 0.2.0
 */
export const routes = (options: Options = {}): Layer.Layer<never, never, HttpRouter.HttpRouter | Screens | Sounds> =>
  Layer.unwrap(Effect.gen(function*() {
    const assets = yield* Assets.load
    const services = Context.make(Screens, yield* Screens).pipe(Context.add(Sounds, yield* Sounds))
    const base = pathOf(options)
    const asset = (name: Assets.Name) => answer(assets.get(name)!)
    return Layer.mergeAll(
      HttpRouter.add("GET", base, guarded(options, ({ originalUrl }) => Effect.succeed(page(base, asset("index.html"), originalUrl)))),
      HttpRouter.add("GET", `${base}main.js`, asset("main.js")),
      HttpRouter.add("GET", `${base}listener.js`, asset("listener.js")),
      HttpRouter.add("GET", `${base}worklet.js`, asset("worklet.js")),
      HttpRouter.add("GET", `${base}style.css`, asset("style.css")),
      HttpRouter.add("GET", `${base}socket`, socket(options, (socket) => Effect.provide(Viewer.serve(socket, options), services))),
      HttpRouter.add("GET", `${base}sound`, socket(options, (socket) => Effect.provide(Listener.serve(socket, options), services)))
    )
  }))

/** Whoever comes while nothing answers yet is cut off, and comes again: Node would take the request, and keep it for ever. */
const server = () => {
  const created = createServer({ keepAlive: true, keepAliveInitialDelay: 10_000, requestTimeout: 10_000, maxHeaderSize: 8192 })
  return created.on("connection", (socket) => {
    if (created.listenerCount("request") === 0) socket.destroy()
  })
}

/**
 * A server of its own for the page, on loopback unless `host` says otherwise; `HttpServer` tells its address. It ends at
 * once, whoever looks.
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = ({ host = "127.0.0.1", port, ...options }: Listening): Layer.Layer<
  HttpServer.HttpServer,
  ServeError,
  Screens | Sounds
> =>
  HttpRouter.serve(routes(options), { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provideMerge(NodeHttpServer.layer(
      server,
      { host, port, gracefulShutdownTimeout: 0, websocket: { maxPayload: Viewer.maxMessageSize } }
    ))
  )
