import { timingSafeEqual } from 'node:crypto'

const KEY = Buffer.from(process.env.INTERNAL_API_KEY ?? '')

/** Whether the gateway sent it: nobody else knows the key, and the gateway drops what a client sends in its place. */
export function isFromGateway({ headers }) {
  const sent = Buffer.from(headers['x-internal-api-key'] ?? '')
  return KEY.length > 0 && sent.length === KEY.length && timingSafeEqual(sent, KEY)
}

/** Express' own: past it, `request.user` is who the gateway verified; undefined on public paths. */
export function gatewayOnly(request, response, next) {
  if (!isFromGateway(request)) return response.status(403).json({ error: 'only through the gateway' })
  const { 'x-user-id': id, 'x-user-claims': claims } = request.headers
  request.user = id === undefined ? undefined : { id, claims: JSON.parse(claims ?? '{}') }
  next()
}
