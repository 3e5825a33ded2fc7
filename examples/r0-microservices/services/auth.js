// Who knows the password gets a JWT for an hour. A real one keeps its users in a database.
import express from 'express'
import { SignJWT } from 'jose'
import { gatewayOnly } from './gateway-only.js'

const secret = new TextEncoder().encode(process.env.JWT_SECRET)
const users = new Map([['ann', { password: 'of-the-example', role: 'admin' }]])
const app = express()
app.get('/health', (_request, response) => response.json({ status: 'ok' }))
app.use(gatewayOnly, express.json())

app.post('/register', ({ body }, response) => {
  const { name, password } = body ?? {}
  if (typeof name !== 'string' || typeof password !== 'string' || users.has(name))
    return response.status(400).json({ error: 'a new name, and a password' })
  users.set(name, { password, role: 'user' })
  response.status(201).json({ name })
})

app.post('/login', async ({ body }, response) => {
  const { name, password } = body ?? {}
  const user = users.get(name)
  if (user === undefined || user.password !== password)
    return response.status(401).json({ error: 'wrong name or password' })
  const jwt = new SignJWT({ role: user.role }).setProtectedHeader({ alg: 'HS256' }).setSubject(name)
  response.json({ token: await jwt.setIssuedAt().setExpirationTime('1h').sign(secret) })
})

app.get('/me', ({ user }, response) => response.json(user ?? null))
app.listen(3000)
