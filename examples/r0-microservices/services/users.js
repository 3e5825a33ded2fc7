import express from 'express'
import { gatewayOnly } from './gateway-only.js'

const app = express()
app.get('/health', (_request, response) => response.json({ status: 'ok' }))
app.use(gatewayOnly, express.json())

/** What arrived, so that you see what the gateway adds and takes away. */
app.all('/seen/*path', ({ method, url, headers }, response) => response.json({ method, url, headers }))
app.get('/:id', ({ params, user }, response) => response.json({ id: params.id, askedBy: user }))
app.put('/:id', ({ params, body, user }, response) => {
  if (user?.id !== params.id) return response.status(403).json({ error: 'not yours' })
  response.json({ id: params.id, ...body })
})
app.listen(3000)
