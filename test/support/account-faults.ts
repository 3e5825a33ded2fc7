import { type Behaviour, json } from './behaviour.ts'

/** How providers tell by a status of the client's fault that our own account there is at fault. */
export const accountFaults: Readonly<Record<string, () => Behaviour>> = {
  'low credit': () =>
    json(
      {
        type: 'error',
        error: {
          type: 'invalid_request_error',
          message:
            'Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.',
        },
        request_id: 'req_of_the_provider',
      },
      { status: 400 },
    ),
  'usage limit': () =>
    json(
      {
        type: 'error',
        error: {
          type: 'invalid_request_error',
          message:
            'You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.',
        },
      },
      { status: 400 },
    ),
  'invalid key in a list': () =>
    json(
      [
        {
          error: {
            code: 400,
            message: 'API key not valid. Please pass a valid API key.',
            status: 'INVALID_ARGUMENT',
            details: [{ '@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: 'API_KEY_INVALID' }],
          },
        },
      ],
      { status: 400 },
    ),
  'shortened key': () =>
    json(
      {
        code: 'Client specified an invalid argument',
        error: 'Incorrect API key provided: xa***AB. You can obtain an API key from https://console.x.ai.',
      },
      { status: 400 },
    ),
  'spent quota': () =>
    json(
      {
        error: {
          message: 'You exceeded your current quota, please check your plan and billing details.',
          type: 'insufficient_quota',
          param: null,
          code: 'insufficient_quota',
        },
      },
      { status: 422 },
    ),
}
