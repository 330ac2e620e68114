// node builtin.js CHECK URL: does one check with the WebSocket that Node has built in.
import { bytes, same, text } from './data.js'

const [check, url] = process.argv.slice(2)
const ws = new WebSocket(url)
ws.binaryType = 'arraybuffer'
const got = [], waiting = []
ws.onmessage = e => waiting.length ? waiting.shift()(e.data) : got.push(e.data)
const next = () => got.length ? Promise.resolve(got.shift()) : new Promise(resolve => waiting.push(resolve))
const opened = new Promise(resolve => { ws.onopen = resolve })
const closed = new Promise(resolve => { ws.onclose = e => resolve({ code: e.code, reason: e.reason }) })

const checks = {
	async echo(sizes) {
		await opened
		const wrong = []
		for (const n of sizes) {
			for (const sent of [text(n), bytes(n)]) {
				ws.send(sent)
				const m = await next()
				if (!same(sent, m)) wrong.push(`${typeof sent} of ${n} bytes came back as ${typeof m} of ${m.length ?? m.byteLength}`)
			}
		}
		ws.close(1000)
		return { wrong, extensions: ws.extensions, protocol: ws.protocol, ...await closed }
	},
	async close() {
		await opened
		ws.close(4001, 'bye é')
		return closed
	},
	async closed() {
		await opened
		ws.send('close me')
		return closed
	},
	async pinged() {
		await opened
		ws.send('ping me')
		return { message: await next() }
	},
}
console.log(JSON.stringify(await checks[check](JSON.parse(process.argv[4] ?? '[]'))))
process.exit()
