/** The names of all keys: one hash tag, so that every script finds all it touches in one slot of a Cluster. */
export const buildKeys = (prefix: string) => {
  const key = (name: string): string => `{${prefix}}:${name}`
  return {
    meta: key('meta'),
    tokens: key('tokens'),
    hashes: key('hashes'),
    names: key('names'),
    replicas: key('replicas'),
    usage: key('usage'),
    drainLock: key('drain'),
    drainNumber: key('drain-number'),
    account: (tokenId: string) => key(`account:${tokenId}`),
    holds: (owner: string) => key(`holds:${owner}`),
    ended: (owner: string, hold: string) => key(`ended:${owner}:${hold}`),
    window: (name: string) => key(`window:${name}`),
  }
}

export type Keys = ReturnType<typeof buildKeys>
