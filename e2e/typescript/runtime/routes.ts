// The routes of these tests. The runtime is appended to this, as wsts does.

/** What a page sends. */
export interface Post { text: string }

/** What the server sends. */
export interface Note { n: number; text: string }

export const Echo = route<Post, Note, {}>("/echo");
export const Room = route<Post, Note, { room: string }>("/rooms/{room}/ws");
export const Files = route<Post, Note, { path: string }>("/files/{path...}");
export const Digits = route<Post, Note, { id: string }>("/n/{id:[0-9]{1,3}}/x");
export const Home = route<Post, Note, {}>("/home/{$}");
export const Numbers = route<Post, Note, {}>("/numbers");
export const Private = route<Post, Note, {}>("/private");
export const Garbage = route<Post, Note, {}>("/garbage");
export const Raw = routeWithCodec<string, string, {}>("/raw");
