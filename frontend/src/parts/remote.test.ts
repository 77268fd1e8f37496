// Servers on other computers: adding one, signing in and out, what of a server's page applies to them.

import { describe, expect, test } from 'vitest'
import { choose, click, expectAccessible, find, get, open, settle, type } from '../dev/testing'
import { remoteServer, servers } from '../dev/servers'
import type { Standin } from '../dev/host'
import { app } from '../lib/app.svelte'
import { addressProblem, emptyRemote, hostOf, isLocal, newRemote, remoteProblems } from '../lib/remote'
import type { RemoteView, ServerView } from '../lib/types'

const detail = (): string => document.querySelector('[data-detail]')?.textContent ?? ''
async function show(name: string, remote: Partial<RemoteView> = {}, over: Partial<ServerView> = {}): Promise<Standin> {
  const host = await open({ servers: servers.map((s) => (s.name === name && s.remote ? { ...s, ...over, remote: { ...s.remote, ...remote } } : s)) })
  app.openServer(name)
  await settle()
  return host
}
async function form(): Promise<Standin> {
  const host = await open()
  app.overlay = { kind: 'add' }
  await settle()
  await click('add-from-url')
  return host
}

describe('an address', () => {
  test.each([
    ['https://mcp.example.org/mcp', ''], [' https://mcp.example.org:8443 ', ''], ['http://localhost:8080/mcp', ''], ['http://127.0.0.1/mcp', ''], ['http://[::1]:1/', ''],
    ['', 'required'], ['mcp.example.org', 'begins with https://'], ['ftp://x.example', 'begins with https://'], ['https://', 'begins with https://'], ['http://mcp.example.org/mcp', 'not encrypted'], ['http://localhost.example/mcp', 'not encrypted'],
    ['https://me:pw@mcp.example.org/', 'no place in an address'], ['https://mcp.example.org/#top', 'after #'], ['https://mcp.example.org/#', 'after #'],
  ])('%j', (address, says) => {
    expect(addressProblem(address)).toContain(says)
    if (says === '') expect(addressProblem(address)).toBe('')
  })
  test('has a host, and may be of this computer', () => {
    expect([hostOf('https://a.example:8443/x'), hostOf('nonsense')]).toEqual(['a.example:8443', ''])
    expect([isLocal('http://localhost:1/'), isLocal('http://127.9.0.1/'), isLocal('https://127.0.0.1.example/')]).toEqual([true, true, false])
  })
})

describe('the form for a server at an address', () => {
  test('says what it means, and what is wrong, before anything is sent', async () => {
    const host = await form()
    expect(get('remote-means').textContent).toContain('nothing of it is confined')
    await click('add-how-key')
    await type('add-header', 'X Api Key')
    await click('add-save')
    expect(host.calls.some(([m]) => m === 'AddRemote')).toBe(false)
    for (const id of ['add-name-e', 'add-url-e', 'add-header-e', 'add-key-e']) expect(document.getElementById(id)?.textContent).toBeTruthy()
    expect((get('add-key') as HTMLInputElement).type).toBe('password')
  })
  test('sends a key in its header, and keeps it nowhere', async () => {
    const host = await form()
    await type('add-name', 'far')
    await type('add-url', ' https://far.example/mcp ')
    await click('add-how-key')
    expect((get('add-header') as HTMLInputElement).value).toBe('Authorization')
    await type('add-key', ' k-1 ')
    host.failing = { code: 'CRD-KEY-02', what: 'The keyring is locked.', means: '', fix: '' }
    await click('add-save')
    expect(document.querySelector('[role="dialog"]')?.textContent).toContain('CRD-KEY-02')
    expect((get('add-key') as HTMLInputElement).value).toBe('')
    host.failing = null
    await type('add-key', ' k-1 ')
    await click('add-save')
    expect(host.calls.filter(([m]) => m === 'AddRemote').at(-1)?.[1]).toEqual({ name: 'far', url: 'https://far.example/mcp', privateHosts: [], header: 'Authorization', key: 'k-1', login: '', clientId: '', secret: '', issuer: '', scopes: [], idpTokenEndpoint: '', idpClientId: '', idpToken: '' })
    expect(find('add-save')).toBeNull()
    expect(app.server).toBe('far')
  })
  test('sends what signing in needs, and nothing of what another choice held', () => {
    const draft = { ...emptyRemote(), url: 'https://far.example', key: 'left over', clientId: ' c-1 ', secret: 's', issuer: 'https://login.example', scopes: 'a b, c', privateHosts: 'mcp.corp.example:8443' }
    expect(newRemote('far', draft)).toEqual({ name: 'far', url: 'https://far.example', privateHosts: ['mcp.corp.example:8443'], header: '', key: '', login: '', clientId: 'c-1', secret: 's', issuer: 'https://login.example', scopes: ['a', 'b', 'c'], idpTokenEndpoint: '', idpClientId: '', idpToken: '' })
    expect(newRemote('far', { ...draft, how: 'machine' }).login).toBe('client-credentials')
    expect(newRemote('far', { ...draft, how: 'key' })).toMatchObject({ header: 'Authorization', key: 'left over', clientId: '', secret: '', issuer: '', scopes: [] })
    expect(Object.entries(remoteProblems({ ...emptyRemote(), how: 'machine', url: 'https://far.example', issuer: 'login', privateHosts: 'corp' })).filter(([, v]) => v).map(([k]) => k)).toEqual(['clientId', 'secret', 'issuer', 'privateHosts'])
  })
  test.each([
    ['client-credentials', ['add-client', 'add-secret'], ['add-idp', 'add-idp-token']],
    ['private-key-jwt', ['add-client', 'add-secret'], ['add-idp', 'add-idp-token']],
    ['enterprise', ['add-client', 'add-secret', 'add-idp', 'add-idp-client', 'add-idp-token'], []],
    ['workload', ['add-client', 'add-secret'], ['add-idp', 'add-idp-token']],
  ])('lets a machine sign in with %s: asks for what that needs, and says what is missing', async (machine, asks, asksNot) => {
    const host = await form()
    expect(find('add-machine')).toBeNull()
    await click('add-how-machine')
    await choose('add-machine', machine)
    for (const id of asks) expect(find(id), id).toBeTruthy()
    for (const id of asksNot) expect(find(id), id).toBeNull()
    expect(document.getElementById('add-machine-h')?.textContent).toBeTruthy()
    await type('add-name', 'far')
    await type('add-url', 'https://far.example/mcp')
    await click('add-save')
    expect(host.calls.some(([m]) => m === 'AddRemote')).toBe(false)
    expect(document.getElementById('add-client-e')?.textContent).toBeTruthy()
    if (machine !== 'enterprise') expect(document.getElementById('add-secret-e')?.textContent).toContain('not kept here')
    await type('add-client', 'soc')
    expect(document.getElementById('add-issuer-e') !== null).toBe(['client-credentials', 'workload'].includes(machine)) // until there is a secret
    if (machine !== 'private-key-jwt') await type('add-issuer', 'https://login.example')
    const proof = machine === 'private-key-jwt' ? '-----BEGIN PRIVATE KEY-----\nMC4\n-----END PRIVATE KEY-----\n' : 's3cr3t'
    await type('add-secret', proof)
    if (machine === 'enterprise') {
      await type('add-idp', 'https://id.corp.example/token')
      await type('add-idp-client', 'desk')
      await type('add-idp-token', 'a.b.c')
    }
    await click('add-save')
    expect(host.calls.filter(([m]) => m === 'AddRemote').at(-1)?.[1]).toMatchObject({ login: machine, clientId: 'soc', secret: proof, issuer: machine === 'private-key-jwt' ? '' : 'https://login.example', key: '', ...(machine === 'enterprise' ? { idpTokenEndpoint: 'https://id.corp.example/token', idpClientId: 'desk', idpToken: 'a.b.c' } : { idpTokenEndpoint: '', idpClientId: '', idpToken: '' }) })
    expect(find('add-save')).toBeNull()
  }, 20_000)
  test('for a machine works with assistive tools', async () => {
    await form()
    await click('add-how-machine')
    await choose('add-machine', 'enterprise')
    await click('add-save')
    await expectAccessible()
  }, 20_000)
  test('forgets what proves one thing when another is chosen, and what was not taken', async () => {
    const host = await form()
    await click('add-how-machine')
    expect((get('add-secret') as HTMLInputElement).type).toBe('password')
    await type('add-secret', 's3cr3t')
    await choose('add-machine', 'private-key-jwt')
    expect((get('add-secret') as HTMLTextAreaElement).value).toBe('')
    expect(get('add-secret').classList.contains('veiled')).toBe(true)
    await choose('add-machine', 'enterprise')
    await type('add-name', 'far')
    await type('add-url', 'https://far.example/mcp')
    await type('add-client', 'soc')
    await type('add-issuer', 'https://login.example')
    await type('add-idp', 'https://id.corp.example/token')
    await type('add-idp-client', 'desk')
    await type('add-idp-token', 'a.b.c')
    host.failing = { code: 'CRD-KEY-02', what: 'The keyring is locked.', means: '', fix: '' }
    await click('add-save')
    expect(document.querySelector('[role="dialog"]')?.textContent).toContain('CRD-KEY-02')
    expect((get('add-idp-token') as HTMLInputElement).value).toBe('')
    expect((get('add-idp') as HTMLInputElement).value).toBe('https://id.corp.example/token')
  })
  test('opens the options that hold something wrong', async () => {
    await form()
    await type('add-issuer', 'login.example')
    expect(get('add-more').closest('details')?.open).toBe(false)
    await click('add-save')
    expect(get('add-more').closest('details')?.open).toBe(true)
  })
})

describe('a remote server', () => {
  test('says where it is and who signs in, and nothing of what only a process has', async () => {
    await show('cases')
    for (const said of ['https://cases.example:8443/mcp', 'nothing is confined', 'login.corp.example', 'cases:read', 'cases:comment', 'to this computer', '17:45:00 UTC', 'Connected since']) expect(detail()).toContain(said)
    for (const absent of ['What is enforced', 'Uses now', 'Standard error', 'Profile']) expect(detail()).not.toContain(absent)
    expect(detail()).toContain('Cordon’s notes')
    expect(document.querySelector('[data-detail] .t-remote')).toBeTruthy()
    expect(get('server-cases').textContent).toContain('cases.example:8443')
  })
  test('is signed out of in one step, and into again', async () => {
    const host = await show('cases')
    await click('sign-out')
    expect(host.calls).toContainEqual(['SignOut', 'cases'])
    expect(get('remote-login').textContent).toContain('not signed in')
    expect(get('sign-in').textContent).toBe('Sign in')
  })
  test('that needs a sign-in shows the button, the wait, and the way out of it', async () => {
    const host = await show('intel')
    expect(get('server-intel').textContent).toContain('Sign-in needed')
    expect(get('sign-in-needed').textContent).toContain('It wants to know who calls.')
    expect(find('server-start')).toBeNull()
    await click('sign-in')
    host.show({ question: { ticket: 't', server: 'intel', kind: 'url', message: '', intro: '', yes: '', fields: [], url: 'https://login.example/', host: 'login.example', deadline: '', waiting: 0, signIn: true } })
    host.show({ question: null })
    await settle()
    expect(get('signing-in').textContent).toContain('Waiting for you in the browser')
    await click('sign-in-cancel')
    expect(host.calls).toContainEqual(['CancelProgress', 'sign in intel'])
    await settle()
    expect(document.querySelector('[aria-label="What failed"]')).toBeNull()
    await click('sign-in')
    host.signedIn()
    await settle()
    expect(app.servers.find((s) => s.name === 'intel')?.state).toBe('running')
    expect(document.body.textContent).toContain('You are signed in to intel.')
  })
  test('says why a sign-in failed, until the next try', async () => {
    const host = await show('intel')
    await click('sign-in')
    host.signedIn({ code: 'CRD-NET-04', what: 'the authorization server refused: access_denied', means: 'm', fix: 'f' })
    await settle()
    expect(document.querySelector('[aria-label="What failed"]')?.textContent).toContain('CRD-NET-04')
    await click('sign-in')
    expect(document.querySelector('[aria-label="What failed"]')).toBeNull()
  })
  test('asks in sight for what it wants besides', async () => {
    const host = await show('cases', { wanted: ['cases:read', 'cases:close\u202e'] })
    expect(get('sign-in-wanted').textContent).toContain('The server wants to be allowed more: cases:closeU+202E')
    expect(get('sign-in-wanted').textContent).not.toContain('cases:read')
    expect(get('sign-in').textContent).toBe('Sign in again')
    expect(get('sign-out')).toBeTruthy()
    await click('sign-in')
    expect(host.calls).toContainEqual(['SignIn', 'cases'])
  })
  test('that serves whoever calls is allowed only by an explicit step', async () => {
    const host = await show('openbook')
    expect(get('nameless').textContent).toContain('nobody vouches for who runs it')
    expect(find('sign-in')).toBeNull()
    expect(find('server-start')).toBeNull()
    await click('open-allow')
    expect(host.calls).toContainEqual(['SetOpen', 'openbook', true])
  })
  test('may be opened later, after the same words, and closed again', async () => {
    const host = await show('cases')
    expect(find('open-allow')).toBeNull()
    await click('open-ask')
    expect(get('open-means').textContent).toContain('Allow it only if you know this server and it is meant to be open.')
    expect(host.calls.some(([name]) => name === 'SetOpen')).toBe(false)
    await click('open-allow')
    expect(host.calls).toContainEqual(['SetOpen', 'cases', true])
    expect(find('open-means')).toBeNull()
    await click('open-undo')
    expect(host.calls).toContainEqual(['SetOpen', 'cases', false])
  })
  test('with a key says in which header, and shows no sign-in', async () => {
    await show('cases', { signedIn: false, issuer: '', scopes: [], expires: '', bound: false }, { env: [{ name: 'Authorization', value: '', secret: 'key' }] })
    expect(get('remote-login').textContent).toContain('in the header Authorization, kept as the secret key')
    expect(find('sign-in')).toBeNull()
  })
  test('is reviewed with its prompts; its address stands for its program', async () => {
    const host = await open({ servers: [remoteServer('cases', {}, { pin: 'new', pinnedAt: '' })] })
    app.openServer('cases')
    await settle()
    expect(get('review-approve').textContent).toBe('Approve these 1 tool and 2 prompts')
    const page = document.querySelector('.quar-page')?.textContent ?? ''
    for (const said of ['https://cases.example:8443/mcp', 'Pins the address', 'can change unnoticed', 'triage', 'resources to read']) expect(page).toContain(said)
    expect(page).not.toContain('started once, confined')
    await click('review-approve')
    expect(document.body.textContent).toContain('1 tool and 2 prompts pinned.')
    expect(host.calls).toContainEqual(['Approve', 'cases', 'sha256:7a10c4e2b86d901f'])
  })
})
