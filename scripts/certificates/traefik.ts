import { once } from 'node:events'
import { checkServerIdentity, connect, type TLSSocket } from 'node:tls'

const ANSWER_MS = 5000

/** What Traefik shows for a name: a certificate and until when it is valid, none, or nothing as it does not run. */
export type Shown = { is: 'certificate'; untilMs: number } | { is: 'none' } | { is: 'away' }

/** Asks Traefik itself, whether or not the name leads here. It shows a certificate for its own names alone (sniStrict). */
export async function askForCertificate(
  name: string,
  { host, port }: { host: string; port: number },
): Promise<Shown> {
  // Who issued it does not matter here: also the staging authority's certificates are the ones ordered.
  const socket: TLSSocket = connect({ host, port, servername: name, rejectUnauthorized: false })
  try {
    await once(socket, 'secureConnect', { signal: AbortSignal.timeout(ANSWER_MS) })
    const certificate = socket.getPeerCertificate()
    // One of the operator's own may be for several names, and *.example.com for all below.
    if (checkServerIdentity(name, certificate) !== undefined) return { is: 'none' }
    return { is: 'certificate', untilMs: Date.parse(certificate.valid_to) }
  } catch (error) {
    const isRefusal = error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_SSL')
    return { is: isRefusal ? 'none' : 'away' }
  } finally {
    socket.on('error', () => undefined).destroy()
  }
}
