import { serve, upgradeWebSocket } from '@hono/node-server'
import { Hono } from 'hono'
import { WebSocketServer } from 'ws'
import { control, echo } from './common.js'

const app = new Hono()
app.get('/echo', upgradeWebSocket(echo))
const websocket = { server: new WebSocketServer({ noServer: true }) }
serve({ fetch: app.fetch, websocket, hostname: '127.0.0.1', port: 0 }, (info) => control(info.port, globalThis.gc))
