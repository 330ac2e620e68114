import { Hono } from 'hono'
import { upgradeWebSocket } from 'hono/deno'
import { control, echo } from './common.js'

const app = new Hono()
app.get('/echo', upgradeWebSocket(echo))
const server = Deno.serve({ hostname: '127.0.0.1', port: 0, onListen() {} }, app.fetch)
control(server.addr.port, () => globalThis.gc())
