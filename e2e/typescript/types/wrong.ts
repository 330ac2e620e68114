import { Chat, Game, StatusKicked, type Command, type Event, type Note, type Post, type Received } from "./chat.ts";

const post: Post = { id: 1, text: "hi" };
const room = { params: { room: "a" } };
const chat = Chat.connect({ ...room, onMessage: (n) => n.from.trim() });

// What goes out.
chat.send(post);
chat.send({ id: 1, text: "hi", mood: "sad" });
chat.send({ id: 1 }); // error: 'text' is missing
chat.send({ id: "1", text: "hi" }); // error: Type 'string' is not assignable to type 'number'
chat.send({ id: 1, text: "hi", mood: "angry" }); // error: Type '"angry"' is not assignable
chat.send({ id: 1, text: "hi", mood: "" }); // error: Type '""' is not assignable
chat.send({ id: 1, text: "hi", extra: true }); // error: 'extra' does not exist
chat.send("hi"); // error: 'string' is not assignable to parameter of type 'Post'
chat.send(); // error: Expected 1 arguments

// What comes in.
Chat.connect({ ...room, onMessage: (n) => n.sender }); // error: 'sender' does not exist
Chat.connect({ ...room, onMessage: (n) => n.tags.length }); // error: 'n.tags' is possibly 'null'
Chat.connect({ ...room, onMessage: (n) => n.tags?.[0] });
Chat.connect({ ...room, onMessage: (n: Post) => n.text });
Chat.connect({ ...room, onMessage: (n: string) => n }); // error: Type 'Note' is not assignable to type 'string'
const received: Received<typeof Chat> extends Note ? 1 : 2 = 1;
const at: Date = ({} as Note).at; // error: 'string' is not assignable to type 'Date'

// Where it goes.
Chat.connect({}); // error: 'params' is missing
Chat.connect({ params: {} }); // error: 'room' is missing
Chat.connect({ params: { room: 1 } }); // error: 'number' is not assignable to type 'string'
Chat.connect({ params: { room: "a", floor: "b" } }); // error: 'floor' does not exist
Chat.url({ params: { room: "a" }, base: "https://example.com" }).href;
Chat.url({ params: { rom: "a" } }); // error: 'rom' does not exist
Game.connect({ params: { id: "1" } }); // error: 'rest' is missing
Game.connect({ params: { id: "1", rest: "a/b" }, query: { token: null } }); // error: 'null' is not assignable
Game.connect({ params: { id: "1", rest: "a/b" }, query: async () => ({ token: "t" }) });
Game.connect({ params: { id: "1", rest: "a/b" }, retries: 3 }); // error: 'retries' does not exist

// Messages of several kinds.
const move: Command = { type: "Move", x: 1, y: 2 };
const untagged: Command = { x: 1, y: 2 }; // error: 'type' is missing
const unknown: Command = { type: "Jump", x: 1, y: 2 }; // error: '"Jump"' is not assignable
const mixed: Command = { type: "Say", x: 1, y: 2 }; // error: 'x' does not exist
const answer: Command = { type: "Moved", who: "a", x: 1, y: 2 }; // error: '"Moved"' is not assignable

function all(e: Event): string {
	switch (e.type) {
		case "Moved":
			return e.who + e.x;
		case "Said":
			return e.text;
		case "Left":
			return "";
	}
}

function notAll(e: Event): string { // error: Function lacks ending return statement
	switch (e.type) {
		case "Moved":
			return e.text; // error: 'text' does not exist on type '{ type: "Moved"; } & Moved'
		case "Said":
			return e.text;
	}
}

const kicked: 4001 = StatusKicked;
const other: 4002 = StatusKicked; // error: '4001' is not assignable to type '4002'
