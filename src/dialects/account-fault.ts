import { isRecord, type JsonRecord, parseJson } from '../json.ts'

/** What is wrong with our account at a provider, as the status that says so at most providers: its key, or its wallet. */
export type AccountStatus = 401 | 402

/** Words of a code, a type or a reason: no client can put them there. */
const CODES: Readonly<Record<string, AccountStatus>> = {
  invalid_api_key: 401,
  incorrect_api_key: 401,
  authentication_error: 401,
  invalid_authentication_error: 401,
  account_deactivated: 401,
  deactivated_workspace: 401,
  API_KEY_INVALID: 401,
  API_KEY_EXPIRED: 401,
  API_KEY_SERVICE_BLOCKED: 401,
  API_KEY_IP_ADDRESS_BLOCKED: 401,
  API_KEY_HTTP_REFERRER_BLOCKED: 401,
  ACCESS_TOKEN_EXPIRED: 401,
  CONSUMER_INVALID: 401,
  CONSUMER_SUSPENDED: 401,
  SERVICE_DISABLED: 401,
  BILLING_DISABLED: 402,
  billing_error: 402,
  billing_not_active: 402,
  billing_hard_limit_reached: 402,
  insufficient_quota: 402,
  insufficient_user_quota: 402,
  insufficient_balance: 402,
  exceeded_current_quota_error: 402,
  Arrearage: 402,
}

/**
 * How such a message begins. A provider may repeat a client's own words in an error, but it never begins with them: one
 * client must not be able to make a provider rest for all.
 */
const KEY_TEXT =
  /^(?:(?:incorrect|invalid|wrong|expired|missing|unknown) (?:x-)?api[- ]key|(?:the |your )?api[- ]key (?:is |was |has )?(?:not |been |in)?(?:valid|expired|not|disabled|revoked|deleted|deactivated|suspended|blocked)|invalid (?:authentication|credentials|bearer token)|no auth credentials|this organization has been disabled|your (?:account|organization) (?:has been|is|was) (?:disabled|deactivated|suspended|not active)|user location is not supported)/i
const WALLET_TEXT =
  /^(?:(?:your )?credit balance is too low|you exceeded your current quota|you have (?:reached|exceeded) your (?:(?:specified|workspace|api|usage|spending|spend|monthly|billing|credit) ){1,5}limits?|(?:your )?(?:account )?(?:has )?insufficient (?:account )?(?:balance|quota|credits?|funds)|billing (?:hard )?limit|your (?:account|team|organization)(?: [\w*-]{1,64})? (?:has (?:either )?(?:used all|run out of|no)|doesn't have any|does not have any|is out of) |access denied, please make sure your account is in good standing)/i

/** Errors are no longer than that, and only so much is looked into. */
const MOST_BYTES = 64 * 1024
/** A router tells what its own provider said, in it as text. */
const MOST_LEVELS = 3

/**
 * Whether a refusal that looks like the client's own fault is one of our account; undefined: it is not. Some providers tell
 * an empty wallet or a bad key as a 400.
 */
export function readAccountFault(body: Buffer): AccountStatus | undefined {
  return body.length === 0 || body.length > MOST_BYTES ? undefined : faultIn(parseJson(body.toString()), 0)
}

/** The same of an error that is read already. */
export function accountFaultIn(answer: JsonRecord): AccountStatus | undefined {
  return faultIn(answer, 0)
}

function faultIn(value: unknown, level: number): AccountStatus | undefined {
  // Gemini's answers at OpenAI's address are a list with one error in it.
  const answer = Array.isArray(value) ? value[0] : value
  if (!isRecord(answer) || level > MOST_LEVELS) return undefined
  const { error } = answer
  if (typeof error === 'string') return faultOfText(error) ?? faultOfCodes(answer)
  const holder = isRecord(error) ? error : answer
  return faultOfCodes(holder) ?? faultOfMessage(holder, level) ?? faultOfRaw(holder.metadata, level)
}

function faultOfCodes({ code, type, status, details }: JsonRecord): AccountStatus | undefined {
  const reasons = Array.isArray(details)
    ? details.map((each) => (isRecord(each) ? each.reason : undefined))
    : []
  for (const word of [code, type, status, ...reasons]) {
    const found = typeof word === 'string' && Object.hasOwn(CODES, word) ? CODES[word] : undefined
    if (found) return found
  }
  return undefined
}

function faultOfMessage({ message }: JsonRecord, level: number): AccountStatus | undefined {
  if (typeof message !== 'string') return undefined
  return message.startsWith('{') || message.startsWith('[')
    ? faultIn(parseJson(message), level + 1)
    : faultOfText(message)
}

function faultOfRaw(metadata: unknown, level: number): AccountStatus | undefined {
  const raw = isRecord(metadata) ? metadata.raw : undefined
  return typeof raw === 'string' ? faultIn(parseJson(raw), level + 1) : undefined
}

function faultOfText(text: string): AccountStatus | undefined {
  if (KEY_TEXT.test(text)) return 401
  return WALLET_TEXT.test(text) ? 402 : undefined
}
