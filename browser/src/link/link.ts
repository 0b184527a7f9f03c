/**
 * The one Socket.IO connection of a tab to a server: its state, its way back, and waking up.
 *
 * The link knows no feeds. What was asked when it drops is void, and whoever asked asks again on `connect`.
 */

import { io, type Socket } from "socket.io-client";
import { Emitter } from "./emitter.js";
import { Pulse } from "./pulse.js";
import { backoff, Timer, type Timing } from "./timing.js";
import { Wake } from "./wake.js";

/**
 * Whether news can arrive; never mixed with the state of a task. `polling`: plain requests are answered, and the socket has been
 * tried between two of them and did not get through. A server that was away is `reconnecting` until then.
 */
export type LinkState = "live" | "reconnecting" | "polling" | "offline";

export interface LinkEvents {
  state: readonly [state: LinkState];
  /** The socket is connected: watch everything again. */
  connect: readonly [];
  /** The socket is gone: answers that are still awaited won't come. */
  disconnect: readonly [];
  /** The socket has been away for `fallbackAfter`: ask over HTTP until the next `connect`. */
  fallback: readonly [];
  /** The page was asleep or offline and may have missed something, though the socket seems connected. */
  wake: readonly [];
  event: readonly [wire: unknown];
  reset: readonly [wire: unknown];
  /** The server allows a watch no more: a feed and a problem. */
  refused: readonly [wire: unknown];
}

export interface LinkOptions {
  /** The server's origin; null: the page's own. */
  readonly origin: string | null;
  /** The path of Socket.IO on that server. */
  readonly path: string;
  readonly timing: Timing;
  readonly random: () => number;
  /** Whether news may come at any moment, so that a silence is doubted. */
  readonly expects: () => boolean;
}

/** A feed that nobody watches: to stop watching it changes nothing, and any server acknowledges it. */
const NOTHING = "task:-";
const NAMESPACE = "/petiole";

export class Link {
  readonly #options: LinkOptions;
  readonly #events = new Emitter<LinkEvents>();
  readonly #retry = new Timer();
  readonly #away = new Timer();
  readonly #pulse: Pulse;
  readonly #wake: Wake;
  #socket: Socket | null = null;
  #failures = 0;
  /** How many seconds the server wants to be left alone for, once. */
  #asked = 0;
  #fallback = false;
  #polled = false;
  /** The server has named a time to come back at. */
  #told = false;
  /** What is known of the socket while polls succeed: nothing, that it is being tried, that this failed, and that it wasn't the server. */
  #socketIs: "unknown" | "tried" | "failed" | "blocked" = "unknown";
  /** The browser says that it is offline and nothing has arrived since: the socket is not to be believed. */
  #doubted = false;
  #cut = false;
  #state: LinkState = "reconnecting";

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#pulse = new Pulse({
      timing: options.timing,
      expects: options.expects,
      ask: (within) => this.#send("unwatch", { feed: NOTHING }, within),
      alive: () => this.#believe(),
      dead: () => this.restart(),
    });
    this.#wake = new Wake({
      woke: () => this.#woke(),
      seen: (long) => {
        if (long || !this.connected) this.#woke();
      },
      offline: () => {
        this.#doubted = true;
        this.#update();
      },
    });
  }

  on<Name extends keyof LinkEvents>(name: Name, listener: (...values: LinkEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  get state(): LinkState {
    return this.#state;
  }

  get connected(): boolean {
    return this.#socket?.connected ?? false;
  }

  /** Whether `cut` has taken the connection away: nothing is asked in any other way either. */
  get isCut(): boolean {
    return this.#cut;
  }

  /** Whether to ask over HTTP: the socket has been away for too long. */
  get fallback(): boolean {
    return this.#fallback;
  }

  /** Connect, and stay connected until `close`. Opening an open link does nothing. */
  open(): void {
    if (this.#socket) return;
    const { origin, path, timing } = this.#options;
    // WebSocket first: it needs no sticky sessions. The way back is the link's own, because Socket.IO's jitter ends at
    // the ceiling of its wait, where a whole herd would come at once.
    const socket = io(`${origin ?? ""}${NAMESPACE}`, {
      path,
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      reconnection: false,
      timeout: timing.connectWithin * 1000,
      forceNew: true,
      autoConnect: false,
    });
    this.#socket = socket;
    socket.on("connect", () => this.#connected());
    socket.on("disconnect", () => this.#disconnected());
    socket.on("connect_error", (error: Error & { data?: unknown }) => {
      this.#asked = seconds(error.data, "retry_after");
      // A refusal with a reason has got through.
      if (this.#socketIs === "tried") this.#socketIs = error.data === undefined ? "failed" : "unknown";
      this.#again();
    });
    socket.on("reconnect", (wire: unknown) => this.#move(seconds(wire, "after")));
    socket.on("event", (wire: unknown) => this.#arrived("event", wire));
    socket.on("reset", (wire: unknown) => this.#arrived("reset", wire));
    socket.on("refused", (wire: unknown) => this.#arrived("refused", wire));
    socket.io.on("ping", () => this.#believe());
    this.#away.set(timing.fallbackAfter, () => this.#fallBack());
    this.#wake.open();
    this.#update();
    socket.connect();
  }

  close(): void {
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = null;
    this.#retry.clear();
    this.#away.clear();
    this.#pulse.stop();
    this.#wake.close();
    this.#fallback = this.#polled = this.#doubted = this.#cut = this.#told = false;
    this.#socketIs = "unknown";
    this.#failures = this.#asked = 0;
    this.#state = "reconnecting";
    socket.removeAllListeners();
    socket.io.removeAllListeners("ping");
    socket.disconnect();
  }

  /** Drop a connection that no longer answers, and connect anew. */
  restart(): void {
    this.#socket?.disconnect();
  }

  /** Drop the connection, stay away for so many seconds, and connect then: what a cut cable does, for showing it. */
  cut(seconds: number): void {
    const socket = this.#socket;
    if (!socket) return;
    this.#cut = true;
    this.#fallback = this.#polled = this.#told = false;
    this.#socketIs = "unknown";
    socket.disconnect();
    this.#failures = 0;
    this.#away.set(seconds + this.#options.timing.fallbackAfter, () => this.#fallBack());
    this.#retry.set(seconds, () => this.#mend());
    this.#update();
  }

  /**
   * Ask the server and await its acknowledgement.
   *
   * Throws if none arrives within `answerWithin`, or if the socket is or goes away.
   */
  async ask(name: "watch" | "unwatch" | "cancel" | "acknowledge", payload: object): Promise<unknown> {
    const answer = await this.#send(name, payload, this.#options.timing.answerWithin);
    this.#believe();
    return answer;
  }

  /** Take the outcome of a poll: the state says `polling` only while polls succeed and the socket is known not to. */
  polled(succeeded: boolean): void {
    this.#polled = succeeded;
    if (!succeeded) this.#socketIs = "unknown";
    else if (this.#socketIs === "failed") this.#socketIs = "blocked";
    else if (this.#socketIs === "unknown" && !this.#told) this.#tryNow();
    this.#update();
  }

  async #send(name: string, payload: object, within: number): Promise<unknown> {
    if (!this.#socket?.connected) throw new Error("The connection is away. Ask again when it is back.");
    return this.#socket.timeout(within * 1000).emitWithAck(name, payload);
  }

  /** The server is there: the wait that was to end later, and an attempt that has begun before, are out of date. */
  #tryNow(): void {
    if (!this.#socket || this.#cut || this.connected) return;
    this.#socketIs = "tried";
    this.#retry.clear();
    this.#socket.disconnect();
    this.#socket.connect();
  }

  #connected(): void {
    this.#failures = this.#asked = 0;
    this.#fallback = this.#polled = this.#doubted = false;
    this.#socketIs = "unknown";
    this.#retry.clear();
    this.#away.clear();
    this.#pulse.start();
    this.#update();
    this.#events.emit("connect");
  }

  #disconnected(): void {
    if (!this.#socket) return;
    this.#pulse.stop();
    this.#away.set(this.#options.timing.fallbackAfter, () => this.#fallBack());
    this.#events.emit("disconnect");
    this.#again();
  }

  #mend(): void {
    this.#cut = false;
    this.#socket?.connect();
  }

  #again(): void {
    if (!this.#socket || this.#cut) return;
    this.#update();
    // The wait that the server asks for is another for each browser, or jitter spreads what follows it.
    const wait = backoff(this.#failures, this.#options.timing, this.#options.random);
    this.#told = this.#asked > 0;
    this.#retry.set(this.#failures === 0 ? Math.max(this.#asked, wait) : this.#asked + wait, () => {
      this.#told = false;
      this.#socket?.connect();
    });
    this.#asked = 0;
    this.#failures += 1;
  }

  /** The server's process ends: go, and come back when it says, elsewhere. */
  #move(after: number): void {
    this.#asked = after;
    this.#failures = 0;
    this.#socket?.disconnect();
  }

  #fallBack(): void {
    this.#fallback = true;
    this.#events.emit("fallback");
  }

  #arrived(name: "event" | "reset" | "refused", wire: unknown): void {
    this.#believe();
    this.#events.emit(name, wire);
  }

  #believe(): void {
    this.#pulse.heard();
    this.#doubted = false;
    this.#update();
  }

  #update(): void {
    const online = globalThis.navigator?.onLine !== false;
    const state: LinkState =
      this.connected && !this.#doubted
        ? "live"
        : !online
          ? "offline"
          : this.#fallback && this.#polled && this.#socketIs === "blocked"
            ? "polling"
            : "reconnecting";
    if (state === this.#state) return;
    this.#state = state;
    this.#events.emit("state", state);
  }

  #woke(): void {
    this.#doubted = false;
    this.#update();
    if (this.connected) {
      this.#events.emit("wake");
    } else if (!this.#cut) {
      this.#failures = 0;
      this.#retry.clear();
      this.#socket?.connect();
    }
  }
}

/** Return the seconds in this member of a message, within 0 to 60; 0 where it names none. */
function seconds(wire: unknown, name: string): number {
  const value = typeof wire === "object" && wire !== null ? (wire as Record<string, unknown>)[name] : null;
  return typeof value === "number" && Number.isFinite(value) ? Math.min(Math.max(value, 0), 60) : 0;
}
