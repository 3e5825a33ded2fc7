import t from 'tap'
import { answerFailure } from '../../src/services/failure.ts'
import { UpstreamError } from '../../src/upstream/rules.ts'

const coded = (code: string): Error => Object.assign(new Error('10.0.0.1'), { code })

t.test('a failure is told by what it was, whichever way out it came from', async (t) => {
  const cases: [Error, number][] = [
    [new UpstreamError('CONNECT_TIMEOUT', '10.0.0.1'), 504],
    [new UpstreamError('FIRST_BYTE_TIMEOUT', '10.0.0.1'), 504],
    [new UpstreamError('CLOSED_EARLY', '10.0.0.1'), 502],
    [coded('ECONNREFUSED'), 502],
    [new Error('10.0.0.1'), 502],
    [coded('EMFILE'), 503],
  ]
  for (const [cause, status] of cases) {
    const { statusCode, message } = answerFailure(cause, 'service')
    t.equal(statusCode, status, String(Reflect.get(cause, 'code')))
    t.notMatch(message, cause.message, 'the failure itself is for the log')
  }
})
