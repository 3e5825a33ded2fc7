/**
 * What an error's text may name of an operator's own: keys, also as a provider shortens them; accounts; addresses and hosts
 * behind the gateway. Each pattern is bounded, so that no text makes it slow.
 */
const PRIVATE: readonly RegExp[] = [
  // A key by its maker's prefix, whole or with a part of it left out.
  /\b(?:sk|xai|gsk|nvapi|pplx|hf|r8|csk|tgp)[-_][\w*.\x80-\xff-]{4,256}/g,
  // These begin names of fields as well, which have no digits and leave nothing out.
  /\b(?:pk|rk|key|fw)[-_](?=[\w*.-]{0,256}(?:[\d*\x80-\xff]|\.\.))[\w*.\x80-\xff-]{4,256}/g,
  /\bAIza[\w*.-]{4,64}/g,
  // Any word that asterisks shorten.
  /[\w-]{0,64}\*{3,256}[\w-]{0,64}/g,
  // Organizations, projects, workspaces and customers, by their ids.
  /\b(?:org|proj|acct|wrkspc|workspace|cus|team|ten)[-_](?=[A-Za-z]{0,64}\d)\w{6,64}/g,
  /\bprojects?[ /:_#"']{1,4}(?:number[ :"']{1,3})?\d{6,20}\b/gi,
  /\b(?:team|organization|organisation|account|workspace|project|tenant)[ :/"'(]{1,4}[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}/gi,
  /[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{2,63}/g,
  // Addresses, and names that only a network of one's own has.
  /\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b/g,
  // The index of a message has no colon.
  /\[(?=[^:\]]{0,45}:)[0-9a-f:.]{3,45}\](?::\d{1,5})?/gi,
  /\b[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}\.(?:internal|local|localdomain|lan|corp|intranet|svc|cluster)\b(?::\d{1,5})?/gi,
  /\blocalhost(?::\d{1,5})?/gi,
]

const LEAST_HOST_LENGTH = 4

/** Puts asterisks in the place of all that is private, as many as it has bytes; the same bytes where nothing is. */
export function maskPrivate(bytes: Buffer, hosts: readonly string[]): Buffer {
  const text = bytes.toString('latin1')
  let masked = text
  for (const pattern of PRIVATE) masked = masked.replace(pattern, asterisks)
  for (const host of hosts) if (host.length >= LEAST_HOST_LENGTH) masked = masked.replaceAll(host, asterisks)
  return masked === text ? bytes : Buffer.from(masked, 'latin1')
}

function asterisks(found: string): string {
  return '*'.repeat(found.length)
}

/** A provider's host with its port, and without. */
export function hostsOf(origin: string): readonly string[] {
  const url = URL.parse(origin)
  return url ? [url.host, url.hostname] : []
}
