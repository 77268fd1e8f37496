// What the form for a remote server holds, what is wrong with it, and what is sent of it. The host checks all of it again.

import type { NewRemote } from './types'

/** How a machine signs in: what it proves itself with. */
export type Machine = 'client-credentials' | 'private-key-jwt' | 'enterprise' | 'workload'

export interface RemoteDraft {
  url: string
  /** A person signs in, a machine does, or a key goes with every request. */
  how: 'person' | 'machine' | 'key'
  machine: Machine
  header: string
  key: string
  clientId: string
  /** Of the client, a private key or a signed statement, by machine. */
  secret: string
  idpTokenEndpoint: string
  idpClientId: string
  idpToken: string
  issuer: string
  scopes: string
  privateHosts: string
}
export const emptyRemote = (): RemoteDraft => ({ url: '', how: 'person', machine: 'client-credentials', header: 'Authorization', key: '', clientId: '', secret: '', idpTokenEndpoint: '', idpClientId: '', idpToken: '', issuer: '', scopes: '', privateHosts: '' })

/** Secrets leave this window's memory as far as the window can see to it. */
export function forget(of: { key: string; secret: string; idpToken: string }): void {
  of.key = of.secret = of.idpToken = ''
}

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

const missing: Record<Machine, string> = {
  'client-credentials': 'The secret that belongs to the client id. It is not kept here between two tries.',
  'private-key-jwt': 'A private key in PEM, from BEGIN PRIVATE KEY to END PRIVATE KEY. It is not kept here between two tries.',
  enterprise: '', // a client that is registered as public has none
  workload: 'The signed statement of this workload. It is not kept here between two tries.',
}

type Field = 'url' | 'header' | 'key' | 'clientId' | 'secret' | 'idpTokenEndpoint' | 'idpClientId' | 'idpToken' | 'issuer' | 'privateHosts'

/** What is wrong, by field; "" where nothing is. */
export function remoteProblems(d: RemoteDraft): Record<Field, string> {
  const visible = (t: string): boolean => /^[\x21-\x7e]+$/.test(t.trim())
  const key = d.how === 'key'
  const machine = d.how === 'machine'
  const company = machine && d.machine === 'enterprise'
  // Whoever is sent a secret is named by a person. What is signed with a private key is for one issuer.
  const needed = machine ? !(d.machine === 'private-key-jwt' || (company && !d.secret)) : d.secret !== ''
  const proves = d.machine === 'private-key-jwt' ? /-----BEGIN PRIVATE KEY-----[\s\S]+-----END PRIVATE KEY-----/.test(d.secret) : d.secret.trim() !== ''
  return {
    url: addressProblem(d.url),
    header: !key || /^[\w!#$%&'*+.^`|~-]{1,128}$/.test(d.header.trim()) ? '' : 'The name of a header, such as Authorization or X-Api-Key.',
    key: !key || d.key.trim() ? '' : 'A key is required. It is not kept here between two tries.',
    clientId: !machine && !d.clientId.trim() ? '' : visible(d.clientId) ? '' : 'The id that the server’s operator gave to Cordon.',
    secret: !machine || proves ? '' : missing[d.machine],
    idpTokenEndpoint: !company ? '' : addressProblem(d.idpTokenEndpoint) && 'The address at which the identity provider gives tokens, such as https://id.corp.example/token.',
    idpClientId: !company || visible(d.idpClientId) ? '' : 'The id that Cordon has at the identity provider.',
    idpToken: !company || d.idpToken.trim() ? '' : 'The ID token of the identity provider. It is not kept here between two tries.',
    issuer: key ? '' : d.issuer.trim() ? addressProblem(d.issuer) && 'Its address, such as https://login.example.org.' : needed ? 'Who gets the secret. Without it the server would choose that.' : '',
    privateHosts: words(d.privateHosts).every((h) => /^\[?[\w.:*-]+\]?:\d{1,5}$/.test(h)) ? '' : 'NAME:PORT, one a line.',
  }
}

/** What is sent: of another choice than the one that was made, nothing. */
export function newRemote(name: string, d: RemoteDraft): NewRemote {
  const key = d.how === 'key'
  const company = d.how === 'machine' && d.machine === 'enterprise'
  return {
    name, url: d.url.trim(), privateHosts: words(d.privateHosts), header: key ? d.header.trim() : '', key: key ? d.key.trim() : '',
    login: d.how === 'machine' ? d.machine : '', clientId: key ? '' : d.clientId.trim(), secret: key ? '' : d.secret, issuer: key ? '' : d.issuer.trim(), scopes: key ? [] : words(d.scopes),
    idpTokenEndpoint: company ? d.idpTokenEndpoint.trim() : '', idpClientId: company ? d.idpClientId.trim() : '', idpToken: company ? d.idpToken.trim() : '',
  }
}
