// What the form for a remote server holds, what is wrong with it, and what is sent of it. The host checks all of it again.

import type { NewRemote } from './types'

export interface RemoteDraft {
  url: string
  /** A person signs in; a key goes with every request; or Cordon is registered there as a program. */
  how: 'browser' | 'key' | 'program'
  header: string
  key: string
  clientId: string
  secret: string
  issuer: string
  scopes: string
  privateHosts: string
}
export const emptyRemote = (): RemoteDraft => ({ url: '', how: 'browser', header: 'Authorization', key: '', clientId: '', secret: '', issuer: '', scopes: '', privateHosts: '' })

const words = (t: string): string[] => t.split(/[\s,]+/).filter(Boolean)
const loopback = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/i

/** Why an address is not one of a server, or "". */
export function addressProblem(text: string): string {
  const t = text.trim()
  if (!t) return 'An address is required.'
  if (!/^https?:\/\//i.test(t) || !URL.canParse(t)) return 'An address begins with https://, such as https://mcp.example.org/mcp.'
  const u = new URL(t)
  if (u.protocol === 'http:' && !loopback.test(u.hostname)) return 'http is not encrypted: it is spoken with this computer alone. Use https://.'
  if (u.username || u.password) return 'A name or password has no place in an address. Choose “An API key” below.'
  return t.includes('#') ? 'Leave out the part after #.' : ''
}

/** Whether an address is one of this computer. */
export const isLocal = (address: string): boolean => URL.canParse(address) && loopback.test(new URL(address).hostname)

/** The host of an address as it is written there, "" if it has none. */
export const hostOf = (address: string): string => (URL.canParse(address) ? new URL(address).host : '')

/** What is wrong, by field; "" where nothing is. */
export function remoteProblems(d: RemoteDraft): Record<'url' | 'header' | 'key' | 'clientId' | 'secret' | 'issuer' | 'privateHosts', string> {
  const visible = (t: string): boolean => /^[\x21-\x7e]+$/.test(t.trim())
  const key = d.how === 'key'
  return {
    url: addressProblem(d.url),
    header: !key || /^[\w!#$%&'*+.^`|~-]{1,128}$/.test(d.header.trim()) ? '' : 'The name of a header, such as Authorization or X-Api-Key.',
    key: !key || d.key.trim() ? '' : 'A key is required. It is not kept here between two tries.',
    clientId: d.how !== 'program' && !d.clientId.trim() ? '' : visible(d.clientId) ? '' : 'The id that the server’s operator gave to Cordon.',
    secret: d.how !== 'program' || d.secret ? '' : 'The secret that belongs to the client id. It is not kept here between two tries.',
    issuer: key || !d.issuer.trim() ? '' : addressProblem(d.issuer) && 'The address of whoever signs people in, such as https://login.example.org.',
    privateHosts: words(d.privateHosts).every((h) => /^\[?[\w.:*-]+\]?:\d{1,5}$/.test(h)) ? '' : 'NAME:PORT, one a line.',
  }
}

export function newRemote(name: string, d: RemoteDraft): NewRemote {
  const key = d.how === 'key'
  return {
    name, url: d.url.trim(), privateHosts: words(d.privateHosts), header: key ? d.header.trim() : '', key: key ? d.key.trim() : '',
    login: d.how === 'program' ? 'client-credentials' : '', clientId: key ? '' : d.clientId.trim(), secret: key ? '' : d.secret, issuer: key ? '' : d.issuer.trim(), scopes: key ? [] : words(d.scopes),
  }
}
