import Fastify, {
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  LogController,
} from 'fastify'
import { GatewayError, internalError, invalidRequest, notFound } from '../errors.ts'
import { checkWithValibot, schemaController } from '../route-schemas.ts'
import { listenOnSocket } from '../socket-path.ts'
import type { TokenStore } from '../stores/contracts/token-store.ts'
import { openDoorPath } from './door-path.ts'
import { adminTokens } from './tokens.ts'

/** Every answer has this header, so that the token command never takes another server for this one. */
export const DOOR_HEADER = 'x-gateway-door'

const NO_DOOR: Door = { close: async () => undefined }
const MAX_BODY_BYTES = 64 * 1024

export interface DoorOptions {
  tokens: TokenStore
  /** The folder of the store, whose lock this process holds. */
  dbDir: string
  logger: FastifyBaseLogger
}

/** Open until it is closed. */
export interface Door {
  close(): Promise<void>
}

/** The token command's way in: a socket beside the store, which only its owner may open. */
export async function openAdminDoor({ tokens, dbDir, logger }: DoorOptions): Promise<Door> {
  const door = openDoorPath(dbDir)
  if (door === undefined) {
    logger.warn(
      { dbDir },
      'DB_DIR is too long a path for a socket: the token command works only while the server is down',
    )
    return NO_DOOR
  }
  const app = buildDoor(tokens, logger)
  try {
    await app.ready()
    // This is not app.listen(), which logs an address: this one is no address that anybody could call.
    await listenOnSocket(app.server, door.path)
  } catch (error) {
    await app.close()
    door.release()
    // A folder on a network disk may not carry sockets; paid requests do not need this one.
    logger.warn(
      { err: error, dbDir },
      'no socket for the token command: it works only while the server is down',
    )
    return NO_DOOR
  }
  return {
    close: async () => {
      await app.close()
      door.release()
    },
  }
}

function buildDoor(tokens: TokenStore, loggerInstance: FastifyBaseLogger): FastifyInstance {
  const app = Fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    forceCloseConnections: true,
    bodyLimit: MAX_BODY_BYTES,
    schemaController,
  })
  checkWithValibot(app)
  app.addHook('onSend', async (_request, reply) => {
    reply.header(DOOR_HEADER, '1')
  })
  app.setNotFoundHandler(() => {
    throw notFound('The door has no such route')
  })
  app.setErrorHandler<FastifyError>((cause, request, reply) => {
    const error = known(cause)
    if (error.statusCode >= 500) request.log.error({ err: cause }, 'the token command failed')
    const { message, type, param, code } = error
    return reply.code(error.statusCode).send({ error: { message, type, param, code } })
  })
  app.register(adminTokens, { tokens })
  return app
}

function known(cause: FastifyError): GatewayError {
  if (cause instanceof GatewayError) return cause
  const isCallers = cause.statusCode !== undefined && cause.statusCode < 500
  return isCallers ? invalidRequest(cause.message) : internalError('The gateway failed', { cause })
}
