/** The names of all keys: one hash tag, so that every script finds all it touches in one slot of a Cluster. */
export function buildKeys(prefix: string) {
  const key = (name: string): string => `{${prefix}}:${name}`
  return {
    meta: key('meta'),
    tokens: key('tokens'),
    hashes: key('hashes'),
    names: key('names'),
    replicas: key('replicas'),
    usage: key('usage'),
    serviceUsage: key('service-usage'),
    carrierLock: key('drain'),
    carrierNumber: key('drain-number'),
    account: (tokenId: string) => key(`account:${tokenId}`),
    holds: (owner: string) => key(`holds:${owner}`),
    ended: (owner: string, hold: string) => key(`ended:${owner}:${hold}`),
    operation: (id: string) => key(`operation:${id}`),
    places: (tokenId: string) => key(`places:${tokenId}`),
    claim: (tokenId: string, keyHash: string) => key(`claim:${tokenId}:${keyHash}`),
    /** How many keys of clients a token has, by the hour. */
    claimHours: (tokenId: string) => key(`claim-hours:${tokenId}`),
    /** The answers that stand beside a token's keys, oldest first; what they count for, by token and in all. */
    answers: (tokenId: string) => key(`answers:${tokenId}`),
    answerSums: key('answer-sums'),
    answerTotal: key('answer-total'),
    /** Whether a request that came under an idempotency key was charged. */
    charged: (tokenId: string, requestId: string) => key(`charged:${tokenId}:${requestId}`),
    window: (name: string) => key(`window:${name}`),
  }
}

export type Keys = ReturnType<typeof buildKeys>
