// node server.js [deflate]: a server with the package ws. It prints its port, then how each connection closed.
import { WebSocketServer } from 'ws'

const server = new WebSocketServer({
	host: '127.0.0.1',
	port: 0,
	perMessageDeflate: process.argv[2] === 'deflate',
	handleProtocols: offered => offered.has('v2') ? 'v2' : false,
	verifyClient: ({ req }, done) => req.url === '/refuse' ? done(false, 403, 'members only') : done(true),
})
server.on('listening', () => console.log(server.address().port))
server.on('connection', ws => {
	ws.on('message', (data, isBinary) => {
		switch (isBinary ? '' : data.toString()) {
			case 'close me':
				ws.send('before')
				return ws.close(4002, 'go é')
			case 'ping me':
				ws.once('pong', pong => ws.send('pong ' + pong))
				return ws.ping('are you there?')
			case 'extensions':
				return ws.send(ws.extensions)
			case 'fragments':
				ws.send('fr', { fin: false })
				ws.ping()
				ws.send('', { fin: false })
				return ws.send('agments é', { fin: true })
		}
		ws.send(data, { binary: isBinary })
	})
	ws.on('close', (code, reason) => console.log(JSON.stringify({ code, reason: reason.toString() })))
	ws.on('error', () => {})
})
