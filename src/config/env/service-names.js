// @ts-check
// Plain JavaScript without packages, as env-text.js beside it.

/** Where one of the operator's services is: `USER_SERVICE_URL`. */
export const SERVICE_URL = /^([A-Z][A-Z0-9_]*)_SERVICE_URL$/
/** What of it anybody may ask for. */
export const SERVICE_PUBLIC = /^([A-Z][A-Z0-9_]*)_SERVICE_PUBLIC$/

/** Whether a name is a setting of one of the operator's services, whose names nobody here knows. @param {string} name */
export function isServiceSetting(name) {
  return SERVICE_URL.test(name) || SERVICE_PUBLIC.test(name)
}
