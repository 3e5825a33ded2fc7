/** An import would read every getter of `node:http`, and one of them loads undici, for a tenth of the start. */
export const { createServer, METHODS, request, ServerResponse, STATUS_CODES } =
  process.getBuiltinModule('node:http')
export type ServerResponse = InstanceType<typeof ServerResponse>
