import { createServer } from 'node:http'
import express from 'express'
import { Server } from 'socket.io'
import { gatewayOnly, isFromGateway } from './gateway-only.js'

const app = express()
app.get('/health', (_request, response) => response.json({ status: 'ok' }))
app.use(gatewayOnly)
const server = createServer(app)
const io = new Server(server, { allowRequest: (request, tell) => tell(null, isFromGateway(request)) })

/** Whom the gateway verified at the handshake: what a client says about itself is not asked. */
io.on('connection', (socket) => {
  const user = socket.handshake.headers['x-user-id']
  socket.on('say', (text, done) => {
    io.emit('said', { user, text })
    done?.({ transport: socket.conn.transport.name })
  })
})
app.get('/connected', (_request, response) => response.json({ connected: io.engine.clientsCount }))
server.listen(3000)
