// What a page or a Node program does with a real server.
import { type Closed, type Connection, Echo, Garbage, type Note, Numbers, type Post, Private, type Received } from "./routes.js";

/** Where a scenario runs. */
export interface World {
	base: string;
	/** undefined: the global one. */
	WebSocket?: typeof WebSocket;
	/** Whether the client sends Origin, as pages do. */
	origin: boolean;
	/** How many sockets of the system there are, where it can be known. */
	sockets?(): number;
	/** Does something with the server, and returns when it is done. */
	control(what: string): Promise<{ Open: number; Closes: number[] }>;
}

function check(what: string, got: unknown, want: unknown): void {
	const [g, w] = [JSON.stringify(got), JSON.stringify(want)];
	if (g !== w) throw new Error(`${what}: got ${g}, want ${w}`);
}

/** Something that happens later. */
function event<T>(): { happened: Promise<T>; happen: (v: T) => void } {
	let happen!: (v: T) => void;
	const happened = new Promise<T>((resolve) => (happen = resolve));
	return { happened, happen };
}

const options = (w: World) => ({
	base: w.base,
	retry: { first: 20, max: 200 },
	...(w.WebSocket ? { WebSocket: w.WebSocket } : {}),
});

/** Counts to last over restarts, and says how the connections ended. */
async function count(w: World, last: number, disturb: (n: number) => unknown, closed?: (ends: Closed[]) => unknown): Promise<Closed[]> {
	let n = 0;
	const ends: Closed[] = [];
	const c = Numbers.connect({
		...options(w),
		query: async () => ({ after: n }),
		heartbeat: 150,
		timeout: 300,
		onMessage(m) {
			check("a number", m.n, n + 1);
			n = m.n;
			disturb(n);
			if (n === last) c.close();
		},
		onClose(e) {
			ends.push(e);
			closed?.(ends);
		},
	});
	await c.done;
	check("the last number", n, last);
	return ends;
}

export const scenarios: Record<string, (w: World) => Promise<void>> = {
	async "typed round trip"(w) {
		const notes: Received<typeof Echo>[] = [];
		const all = event<void>();
		const c: Connection<Post> = Echo.connect({
			...options(w),
			onOpen(c) {
				for (const text of ["a", "é€😀", "x".repeat(100_000)]) check("send", c.send({ text }), true);
			},
			onMessage(m: Note) {
				if (notes.push(m) === 3) all.happen();
			},
		});
		check("isOpen before", c.isOpen, false);
		await all.happened;
		check("notes", notes, [{ n: 1, text: "a" }, { n: 2, text: "é€😀" }, { n: 3, text: "x".repeat(100_000) }]);
		c.close(4001, "bye é");
		const e = await c.done;
		check("done", [e.code, e.reason, e.wasClean, e.retryIn], [4001, "bye é", true, undefined]);
		check("the server saw", (await w.control("idle")).Closes, [4001]);
	},

	async "back after 1001 without a gap"(w) {
		let restarted: Promise<unknown> | undefined;
		const ends = await count(w, 300, (n) => {
			if (n === 50) restarted = w.control("restart");
		});
		await restarted;
		check("the first end", [ends[0]!.code, ends[0]!.wasClean, ends.at(-1)!.code], [1001, true, 1000]);
	},

	async "back after a kill without a gap"(w) {
		const restarts: Promise<unknown>[] = [];
		const ends = await count(w, 600, (n) => {
			if (n % 150 === 50) restarts.push(w.control("kill"));
		});
		await Promise.all(restarts);
		check("the first end", [ends[0]!.code, ends[0]!.wasClean, ends.at(-1)!.code], [1006, false, 1000]);
	},

	async "a frozen server is noticed"(w) {
		const asked: Promise<unknown>[] = [];
		const ends = await count(
			w,
			400,
			(n) => n === 50 && asked.push(w.control("freeze")),
			(ends) => ends.length === 3 && asked.push(w.control("thaw")), // the second and third were attempts
		);
		await Promise.all(asked);
		check("the first ends", ends.slice(0, 3).map((e) => [e.code, e.reason]), Array(3).fill([1006, "no answer in time"]));
	},

	async "heartbeats keep a silent connection"(w) {
		const back = event<void>();
		let beats = 0;
		const WS = w.WebSocket ?? WebSocket;
		class Listening extends WS {
			constructor(url: string | URL, protocols?: string | string[]) {
				super(url, protocols);
				this.addEventListener("message", (e: MessageEvent) => {
					if (e.data === "" && ++beats === 3) back.happen();
				});
			}
		}
		const ends: Closed[] = [];
		const c = Echo.connect({ ...options(w), heartbeat: 50, timeout: 10_000, WebSocket: Listening, onClose: (e) => ends.push(e), onMessage: (m) => check("a message", m, undefined) });
		await back.happened;
		c.close();
		await c.done;
		check("ends", ends.length, 1);
	},

	async "a new token after 4401"(w) {
		let token: string | undefined = "old";
		const ends: number[] = [];
		const echoed = event<Note>();
		const c = Private.connect({
			...options(w),
			query: async () => ({ token: (token ??= await Promise.resolve("fresh")) }),
			retry: { first: 20, after: (e, byDefault) => byDefault || e.code === 4401 },
			onOpen: (c) => c.send({ text: "hello" }),
			onMessage: (m) => echoed.happen(m),
			onClose(e) {
				ends.push(e.code);
				token = undefined;
			},
		});
		check("note", await echoed.happened, { n: 1, text: "hello" });
		c.close();
		await c.done;
		check("ends", ends, [w.origin ? 4401 : 1006, 1000]);
		if (!w.origin) return;
		const refused = await Private.connect({ ...options(w) }).done;
		check("without after", [refused.code, refused.reason], [4401, "the token has run out"]);
	},

	async abort(w) {
		const controller = new AbortController();
		const opened = event<void>();
		const c = Echo.connect({ ...options(w), signal: controller.signal, onOpen: () => opened.happen() });
		await opened.happened;
		controller.abort();
		const e = await c.done;
		check("done", [e.code, e.wasClean], [1000, true]);
		check("the server saw", (await w.control("idle")).Closes, [1000]);
		check("before connect", (await Echo.connect({ ...options(w), signal: controller.signal }).done).code, 1000);
		check("the server saw no other", (await w.control("idle")).Closes, [1000]);
	},

	async garbage(w) {
		const e = await Garbage.connect({ ...options(w), onMessage: (m) => check("a message", m, undefined) }).done;
		check("done", [e.code, e.retryIn], [4007, undefined]);
		check("the server saw", (await w.control("idle")).Closes, [4007]);
		const invalid: (string | ArrayBuffer)[] = [];
		const note = event<Note>();
		const c = Garbage.connect({ ...options(w), onInvalid: (data) => invalid.push(data), onMessage: (m) => note.happen(m) });
		check("after it", await note.happened, { n: 1, text: "after garbage" });
		check("invalid", invalid.map((x) => (typeof x === "string" ? x : x.byteLength)), ["{", 2]);
		c.close();
		await c.done;
	},

	async "1,000 connects and closes"(w) {
		const leaks = watch(w);
		const { signal } = leaks.controller;
		const each = async (i: number) => {
			const opened = event<void>();
			const waiting = event<void>();
			const c = (i % 5 === 4 ? Private : Echo).connect({
				...options(w),
				WebSocket: leaks.WebSocket,
				signal,
				heartbeat: 10_000,
				retry: { first: 60_000, after: () => true },
				onOpen: () => opened.happen(),
				onClose: (e) => e.retryIn && waiting.happen(),
			});
			if (i % 5 === 1) await Promise.resolve().then(() => {}); // while it asks
			if (i % 5 === 2) await new Promise((resolve) => setTimeout(resolve)); // while it connects
			if (i % 5 === 3) await opened.happened;
			if (i % 5 === 4) await waiting.happened;
			c.close();
			await c.done;
		};
		for (let i = 0; i < 1000; i += 20) await Promise.all(Array.from({ length: 20 }, (_, j) => each(i + j)));
		check("what is left", await leaks.stop(), { timers: 0, listeners: 0, handlers: 0, sockets: 0 });
		check("on the server", (await w.control("idle")).Open, 0);
	},

	/** Only where w.control("outage") can take the network away. */
	async "offline and online"(w) {
		let n = 0;
		const outage = event<void>();
		const codes: number[] = [];
		const c = Numbers.connect({
			...options(w),
			retry: { first: 3_600_000, max: 3_600_000 },
			query: () => ({ after: n }),
			heartbeat: 150,
			timeout: 1000,
			onMessage(m) {
				check("a number", m.n, n + 1);
				if (++n === 20) w.control("outage").catch(() => {}); // its answer can't come
				if (codes.length > 0 && n >= 60) c.close();
			},
			onClose(e) {
				codes.push(e.code);
				(globalThis as any).waiting = e.retryIn !== undefined;
			},
		});
		outage.happen();
		await c.done;
		check("codes", codes, [1006, 1000]);
	},
};

/** Counts timers, listeners, handlers and sockets. */
function watch(w: World) {
	const timers = new Set<unknown>();
	const set = globalThis.setTimeout;
	const clear = globalThis.clearTimeout;
	const g: any = globalThis;
	g.setTimeout = (f: (...args: unknown[]) => void, ms: number, ...args: unknown[]) => {
		const id = set(() => {
			timers.delete(id);
			f(...args);
		}, ms);
		if (new Error().stack!.includes("routes.js")) timers.add(id); // not of the WebSocket itself
		return id;
	};
	g.clearTimeout = (id: any) => {
		timers.delete(id);
		clear(id);
	};

	let listeners = 0;
	const controller = new AbortController();
	const restore: (() => void)[] = [];
	for (const target of [g, controller.signal]) {
		const { addEventListener: add, removeEventListener: remove } = target;
		if (!add) continue; // Node's global object is no EventTarget
		const known = new Set<unknown>();
		target.addEventListener = (type: string, f: any, ...rest: any[]) => {
			if (!known.has(f)) listeners++;
			known.add(f);
			add.call(target, type, f, ...rest);
		};
		target.removeEventListener = (type: string, f: any) => {
			if (known.delete(f)) listeners--;
			remove.call(target, type, f);
		};
		restore.push(() => Object.assign(target, { addEventListener: add, removeEventListener: remove }));
	}

	const sockets: any[] = [];
	const gone: Promise<void>[] = [];
	const WS = w.WebSocket ?? WebSocket;
	class Watched extends WS {
		constructor(url: string | URL, protocols?: string | string[]) {
			super(url, protocols);
			sockets.push(this);
			gone.push(new Promise((resolve) => ["close", "error"].forEach((type) => this.addEventListener(type, () => resolve()))));
		}
	}
	return {
		controller,
		WebSocket: Watched,
		async stop() {
			await Promise.all(gone); // a socket that was closed while it connected takes its time
			g.setTimeout = set;
			g.clearTimeout = clear;
			for (const f of restore) f();
			return {
				timers: timers.size,
				listeners,
				handlers: sockets.filter((s) => s.onopen || s.onmessage || s.onclose).length,
				sockets: w.sockets?.() ?? sockets.filter((s) => s.readyState !== 3).length,
			};
		},
	};
}

/** Runs one scenario, and returns what went wrong. */
export async function run(name: string, w: World): Promise<string> {
	const failed = event<string>();
	const report = (e: any) => failed.happen(`${e.reason?.stack ?? e.stack ?? e}`);
	const g: any = globalThis;
	if (g.process) g.process.on("unhandledRejection", report);
	else g.addEventListener("unhandledrejection", report);
	return Promise.race([failed.happened, scenarios[name]!(w).then(() => "", (e) => `${e.stack}`)]);
}
