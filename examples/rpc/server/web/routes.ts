/** Tick is what the client sends. */
export interface Tick {
	client: string;
	bye?: string;
}

/** Tock is what the server sends. */
export interface Tock {
	client: string;
	server: string;
}

/** StatusBye is the code of a close that the client asked for. */
export const StatusBye = 4001;

/** Clock is the endpoint: the client sends its time, the server answers with its own. */
export const Clock = route<Tick, Tock, {}>("/ws");

// What follows is the same in every file that wsts writes.

/** Parameters after the "?". Those that are undefined are left out; of a list each is sent. */
export type Query = Record<string, string | number | boolean | undefined | readonly (string | number | boolean)[]>;

/** How a connection, or an attempt to make one, ended. */
export interface Closed {
	/**
	 * The close code (RFC 6455, section 7.4). 1006 if there was none, and whenever a handshake failed: a page is not
	 * told why. A server that has ws.Upgrader.RejectWithClose tells it as 4000 + the HTTP status: 4401 for a 401.
	 */
	code: number;
	reason: string;
	wasClean: boolean;
	/** What query, protocols or the constructor of WebSocket threw; reason has it as a string. */
	error?: unknown;
	/** Milliseconds until the next attempt. undefined: this was the last one. */
	retryIn?: number;
}

/** When to come back. */
export interface Retry {
	/**
	 * Milliseconds before the first attempt. They double with each that fails, and each wait is shortened at random by
	 * up to half. A connection that lasted shorter than the wait before it counts as one that failed. Default: 500.
	 */
	first?: number;
	/** Milliseconds that a wait has at most. Default: 30,000. */
	max?: number;
	/** How often to try again in a row. Default: without a limit. */
	attempts?: number;
	/**
	 * Whether to come back after this end. byDefault is the answer where there is no such function: true but for 1000,
	 * 1002, 1003, 1007 to 1010 and 4000 to 4999, which say that it would end in the same way again. So that a token
	 * that has run out is renewed:
	 *
	 *	query: async () => ({ token: await freshToken() }),
	 *	retry: { after: (e, byDefault) => byDefault || e.code === 4401 },
	 */
	after?(e: Closed, byDefault: boolean): boolean;
}

/** Turns values into messages and back. encode must not make an empty string: that is a heartbeat. */
export interface Codec<In, Out> {
	encode(v: In): string | ArrayBuffer | ArrayBufferView;
	decode(data: string | ArrayBuffer): Out;
}

/** The part of the standard's WebSocket that is used. */
interface Socket {
	readonly readyState: number;
	readonly bufferedAmount: number;
	readonly protocol: string;
	binaryType: string;
	onopen: unknown;
	onmessage: unknown;
	onclose: unknown;
	onerror: unknown;
	send(data: any): void;
	close(code?: number, reason?: string): void;
}

/** Where the server's routes are, and what their paths need. base is a URL. Default: the page's own origin. */
type Place<Params> = { base?: string | URL } & (keyof Params extends never ? { params?: Record<string, never> } : { params: Params });

export type Options<In, Out, Params> = Place<Params> & Settings<In, Out>;

/** What a connection does. What onOpen, onMessage, onInvalid, onClose or after throw is reported as an unhandled rejection, and changes nothing else. */
interface Settings<In, Out> {
	/** A function is asked before every attempt: for a new token, or the number of the last message. */
	query?: Query | (() => Query | Promise<Query>);
	/** The subprotocols that are offered. A function is asked before every attempt. */
	protocols?: string | string[] | (() => string | string[] | Promise<string | string[]>);
	/** Called for every connection, also after coming back. */
	onOpen?(c: Connection<In>): void;
	onMessage?(m: Out, c: Connection<In>): void;
	/** Called for data that does not decode. Default: the connection is closed with 4007 for good. */
	onInvalid?(data: string | ArrayBuffer, error: unknown): void;
	/** Called whenever a connection or an attempt ended. The last call, for which retryIn is undefined, is the end. */
	onClose?(e: Closed): void;
	/** false: a connection that ended is not tried again. Default: it is, as Retry says. */
	retry?: Retry | false;
	/** Milliseconds that an attempt, with the asking before it, or a closing may take. Default: 10,000. */
	timeout?: number;
	/**
	 * Milliseconds of silence after which the server is sent an empty message, and after which its answer must have
	 * come: without it a page does not notice a network that is gone. Default: none.
	 */
	heartbeat?: number;
	/** Closes the connection. */
	signal?: AbortSignal;
	/** The class to use, where there is none or another than the global one is wanted: the npm package ws has one. */
	WebSocket?: new (url: string | URL, protocols?: string | string[]) => Socket;
}

/** A connection that comes back by itself, until close is called or Retry says no. */
export interface Connection<In> {
	/** Whether a message can be sent now. */
	readonly isOpen: boolean;
	/** The subprotocol that the server chose, or "". */
	readonly protocol: string;
	/** Bytes that wait to be sent. */
	readonly buffered: number;
	/** Sends v, or returns false if the connection is not open: nothing is kept for a later one. Throws if v can't be encoded. */
	send(v: In): boolean;
	/**
	 * Ends the connection for good. No message comes after it. code is 1000 or 3000 to 4999, reason has at most
	 * 123 bytes; an open connection throws for others. Default: 1000.
	 */
	close(code?: number, reason?: string): void;
	/** Ends the current wait, if there is one: tries now, and if that fails waits as at first. The event online does so too. */
	retryNow(): void;
	/** Resolves when the connection has ended for good: nothing of it is left then. */
	readonly done: Promise<Closed>;
}

export interface Route<In, Out, Params> {
	readonly path: string;
	/** The address that connect opens. */
	url(o: Place<Params> & { query?: Query }): URL;
	/**
	 * Returns at once, and connects soon after. Throws where no attempt could succeed: if a parameter is missing or
	 * unknown, or there is no base or no WebSocket.
	 */
	connect(o: Options<In, Out, Params>): Connection<In>;
}

/** A route whose messages are not JSON. */
export interface CodecRoute<In, Out, Params> extends Omit<Route<In, Out, Params>, "connect"> {
	connect(o: Options<In, Out, Params> & { codec: Codec<In, Out> }): Connection<In>;
}

/** What a route receives. */
export type Received<R> = R extends { connect(o: infer O): unknown } ? (O extends { onMessage?(m: infer Out, c: any): void } ? Out : never) : never;

function address(path: string, o: { base?: string | URL; params?: unknown }, query: Query): URL {
	const page: any = globalThis;
	const params: any = { ...o.params! };
	const u = new URL(o.base ?? "/", page.location?.href);
	u.protocol = u.protocol.replace("http", "ws");
	// The wildcards are {name}, {name...}, {$} and {name:regexp}, whose braces may be nested once.
	u.pathname = u.pathname.replace(/\/$/, "") + path.replace(/\{((?:[^{}]|\{[^{}]*\})*)\}/g, (_, wildcard: string) => {
		const name = wildcard.replace(/:.*|[.]{3}$/s, "");
		if (name === "$") return "";
		const value = String(params[name] ?? ".");
		const many = wildcard.endsWith("...");
		const parts = many ? value.split("/") : [value];
		if (parts.some((p) => p === "." || p === ".." || (!p && !many))) {
			throw new Error(`ws: the route ${path} needs ${name}, not "${params[name]}"`);
		}
		delete params[name];
		return parts.map(encodeURIComponent).join("/");
	});
	for (const name in params) throw new Error(`ws: the route ${path} has no parameter ${name}`);
	for (const [k, v] of Object.entries(query)) {
		for (const x of [v].flat()) if (x !== undefined) u.searchParams.append(k, String(x));
	}
	return u;
}

/** Calls f at once. What it throws becomes an unhandled rejection, which is reported. */
async function safely(f: () => void): Promise<void> {
	f();
}

async function ask(v: any): Promise<any> {
	await undefined; // v may use what connect returns
	return typeof v === "function" ? v() : v;
}

function connect<In, Out>(path: string, codec: Codec<In, Out>, o: Settings<In, Out> & { params?: unknown }): Connection<In> {
	const page: any = globalThis;
	const WS: NonNullable<Settings<In, Out>["WebSocket"]> = o.WebSocket ?? page.WebSocket;
	if (!WS) throw new Error("ws: no WebSocket here; set the option");
	address(path, o, {});
	const { timeout = 10_000, heartbeat = 0, signal } = o;
	const retry: Retry = o.retry || {};
	const { first = 500, max = 30_000, attempts = o.retry === false ? 0 : Infinity } = retry;
	let socket: Socket | undefined; // of the current attempt or connection
	let timer: ReturnType<typeof setTimeout> | undefined;
	let turn = 0; // grows when an attempt begins and when it ends
	let waiting = false;
	let final = false; // close was called: no attempt comes any more
	let failures = 0; // in a row
	let wait = 0; // the last one, before it was shortened
	let opened = 0;
	let resolve!: (e: Closed) => void;
	const done = new Promise<Closed>((r) => (resolve = r));
	done.then((e) => o.onClose?.(e));

	/** Sets the timer, which is one for all that there is to wait for. */
	function after(ms: number, f: () => void): void {
		clearTimeout(timer);
		if (ms > 0 && ms < 2 ** 31) timer = setTimeout(f, ms);
	}

	/** Lets go of the socket, the timer and the listener, whichever there are. */
	function release(): void {
		turn++;
		clearTimeout(timer);
		waiting = false;
		page.removeEventListener?.("online", retryNow);
		if (!socket) return;
		socket.onopen = socket.onmessage = socket.onclose = null;
		socket.close();
		socket = undefined;
	}

	async function attempt(): Promise<void> {
		release();
		const mine = turn;
		opened = 0;
		after(timeout, late);
		let query: Query, protocols: string | string[];
		try {
			[query, protocols] = await Promise.all([ask(o.query ?? {}), ask(o.protocols ?? [])]);
		} catch (error) {
			if (mine === turn) lost(String(error), error);
			return;
		}
		if (mine !== turn) return;
		try {
			socket = new WS(address(path, o, query), protocols);
		} catch (error) {
			final = true;
			lost(String(error), error);
			throw error; // to be reported: it would be the same again
		}
		socket.binaryType = "arraybuffer";
		socket.onopen = () => {
			opened = Date.now();
			beat();
			safely(() => o.onOpen?.(c));
		};
		socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => {
			if (final) return;
			beat();
			if (data) safely(() => receive(data));
		};
		socket.onclose = ended;
		socket.onerror = () => {
			if (mine === turn) lost(""); // Node's WebSocket may not call onclose then
		};
	}

	function receive(data: string | ArrayBuffer): void {
		let m: Out;
		try {
			m = codec.decode(data);
		} catch (error) {
			return o.onInvalid ? o.onInvalid(data, error) : c.close(4007, "invalid message");
		}
		o.onMessage?.(m, c);
	}

	function beat(): void {
		after(heartbeat, () => {
			socket?.send("");
			after(heartbeat, late);
		});
	}

	function late(): void {
		lost("no answer in time");
	}

	function lost(reason: string, error?: unknown): void {
		ended({ code: 1006, reason, wasClean: false, error });
	}

	/** Goes on after the end of an attempt or a connection. */
	function ended({ code, reason, wasClean, error }: Closed): void {
		release();
		const e: Closed = { code, reason, wasClean, error };
		if (opened && Date.now() - opened >= wait) failures = 0;
		let again = !/^(100[0237-9]|1010|4)/.test(String(code));
		if (!final) safely(() => (again = retry.after?.(e, again) ?? again));
		if (final || !again || failures >= attempts) {
			signal?.removeEventListener("abort", abort);
			return resolve(e);
		}
		wait = Math.min(first * 2 ** failures++, max);
		e.retryIn = wait * (1 - Math.random() / 2);
		waiting = true;
		after(e.retryIn, attempt);
		page.addEventListener?.("online", retryNow);
		safely(() => o.onClose?.(e));
	}

	function retryNow(): void {
		if (!waiting) return;
		failures = 0;
		attempt();
	}

	function abort(): void {
		c.close();
	}

	const c: Connection<In> = {
		get isOpen() {
			return socket?.readyState === 1;
		},
		get protocol() {
			return socket?.protocol ?? "";
		},
		get buffered() {
			return socket?.bufferedAmount ?? 0;
		},
		send(v) {
			if (c.isOpen) socket?.send(codec.encode(v));
			return c.isOpen;
		},
		close(code = 1000, reason = "") {
			if (final) return;
			const connected = socket?.readyState;
			if (connected) socket?.close(code, reason);
			final = true;
			if (connected) after(timeout, late);
			else ended({ code, reason, wasClean: true });
		},
		retryNow,
		done,
	};
	signal?.addEventListener("abort", abort);
	if (signal?.aborted) abort();
	else attempt();
	return c;
}

function route<In, Out, Params>(path: string): Route<In, Out, Params> {
	return {
		path,
		url: (o) => address(path, o, o.query ?? {}),
		connect: (o) => connect(path, { encode: (v) => JSON.stringify(v), decode: (data) => JSON.parse(String(data)) }, o),
	};
}

function routeWithCodec<In, Out, Params>(path: string): CodecRoute<In, Out, Params> {
	return { ...route<In, Out, Params>(path), connect: (o) => connect(path, o.codec, o) };
}
