import { Hono } from 'hono'
import { upgradeWebSocket, websocket } from 'hono/bun'
import { control, echo } from './common.js'

const app = new Hono()
app.get('/echo', upgradeWebSocket(echo))
const server = Bun.serve({ fetch: app.fetch, websocket, hostname: '127.0.0.1', port: 0 })
control(server.port, () => Bun.gc(true))
