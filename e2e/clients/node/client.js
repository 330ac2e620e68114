// node client.js CHECK URL: does one check as a client with the package ws, and prints what it saw.
import { WebSocket } from 'ws'
import { bytes, same, text } from './data.js'

const [check, url] = process.argv.slice(2)
const ws = new WebSocket(url, { perMessageDeflate: url.includes('deflate') })
const got = [], waiting = []
ws.on('message', (data, isBinary) => {
	const m = isBinary ? data : data.toString()
	waiting.length ? waiting.shift()(m) : got.push(m)
})
const next = () => got.length ? Promise.resolve(got.shift()) : new Promise(resolve => waiting.push(resolve))
const opened = new Promise((resolve, reject) => { ws.on('open', resolve); ws.on('error', reject) })
const closed = new Promise(resolve => ws.on('close', (code, reason) => resolve({ code, reason: reason.toString() })))

const checks = {
	async echo(sizes) {
		await opened
		const wrong = []
		for (const n of sizes) {
			for (const sent of [text(n), bytes(n)]) {
				ws.send(sent)
				const m = await next()
				if (!same(sent, m)) wrong.push(`${typeof sent} of ${n} bytes came back as ${typeof m} of ${m.length}`)
			}
		}
		ws.close(1000)
		return { wrong, extensions: ws.extensions, protocol: ws.protocol, ...await closed }
	},
	async fragments() {
		await opened
		ws.send('fr', { fin: false })
		ws.send('', { fin: false })
		ws.ping('in between')
		ws.send('agments é', { fin: true })
		const message = await next()
		ws.close()
		return { message, ...await closed }
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
	async ping() {
		await opened
		const pong = new Promise(resolve => ws.on('pong', data => resolve(data.toString())))
		ws.ping('are you there?')
		return { message: await pong }
	},
	async pinged() {
		await opened
		ws.send('ping me')
		return { message: await next() }
	},
	refused: () => new Promise((resolve, reject) => {
		ws.on('open', () => reject(new Error('it is open')))
		ws.on('unexpected-response', async (request, response) => {
			let message = ''
			for await (const chunk of response) message += chunk
			resolve({ status: response.statusCode, message })
		})
	}),
}
opened.catch(() => {})
console.log(JSON.stringify(await checks[check](JSON.parse(process.argv[4] ?? '[]'))))
process.exit()
