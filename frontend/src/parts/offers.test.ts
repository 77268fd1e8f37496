// What servers offer besides tools: resources, templates, prompts, completion; and how a call goes.

import { describe, expect, test } from 'vitest'
import { click, find, get, open, press, settle, type } from '../dev/testing'
import { promptWrite } from '../dev/prompts'
import { servers } from '../dev/servers'
import type { Standin } from '../dev/host'
import { app } from '../lib/app.svelte'
import { stepWords } from '../lib/running.svelte'
import type { CallProgress, CallRequest, ServerView } from '../lib/types'

const pause = (): Promise<void> => new Promise((done) => setTimeout(done, 300)) // until the server is asked
const called = (host: Standin): CallRequest | undefined => host.calls.findLast(([m]) => m === 'Call')?.[1] as CallRequest | undefined
async function show(tab: string, over: Partial<ServerView> = {}): Promise<Standin> {
  const host = await open({ servers: servers.map((s) => (s.name === 'cases' ? { ...s, ...over } : s)) })
  app.openServer('cases')
  await settle()
  await click(`tab-${tab}`)
  return host
}
async function ended(): Promise<void> {
  await new Promise((done) => setTimeout(done, 10))
  await settle()
}

describe('icons', () => {
  const shown = (): (string | undefined)[] => [...document.querySelectorAll<HTMLImageElement>('img.theirs')].map((i) => i.dataset['test'])
  test('stand beside names, of what the host has drawn and nothing else', async () => {
    const host = await show('tools')
    await settle()
    expect(shown()).toContain('icon-server-cases')
    expect(shown()).toContain('icon-tool-search_cases')
    expect(shown()).not.toContain('icon-tool-add_comment') // neither an address nor SVG
    const all = [...document.querySelectorAll<HTMLImageElement>('img')]
    expect(all.length).toBeGreaterThan(2)
    for (const i of all) { expect(i.src).toMatch(/^data:image\/png;base64,/); expect(i.alt).toBe('') }
    expect(get('icon-server-cases').classList.contains('theirs-light')).toBe(true) // there is one for the dark
    expect(get('icon-tool-search_cases').classList.contains('theirs-light')).toBe(false)
    host.show({})
    await settle()
    expect(host.calls.filter(([m]) => m === 'Icons')).toHaveLength(1)
    host.show({ servers: servers.map((s) => (s.name === 'cases' ? { ...s, icons: 2 } : s)) })
    await settle()
    expect(host.calls.filter(([m]) => m === 'Icons')).toHaveLength(2)
  })
  test('of a server that nobody approved as it is now are neither asked for nor shown', async () => {
    const host = await show('tools')
    await settle()
    const asked = host.calls.length
    host.show({ servers: servers.map((s) => (s.name === 'cases' ? { ...s, icons: 3, pin: 'changed', state: 'quarantined' } : s)) })
    await settle()
    expect(shown()).toEqual([])
    expect(host.calls.slice(asked).filter(([m]) => m === 'Icons')).toEqual([])
  })
  test('are in no dialog that asks something', async () => {
    const host = await show('tools')
    await settle()
    host.show({ prompt: { ...promptWrite(), server: 'cases', tool: 'search_cases' } })
    await settle()
    expect(get('consent').querySelector('img')).toBeNull()
    host.show({ prompt: null, question: { ticket: 'q', server: 'cases', kind: 'form', message: 'Which?', intro: '', yes: '', fields: [], url: '', host: '', deadline: '', waiting: 0, signIn: false } })
    await settle()
    expect(get('question').closest('[role=dialog]')?.querySelector('img')).toBeNull()
  })
})

describe('resources', () => {
  test('are listed as text, with what the server says of them', async () => {
    await show('resources')
    const list = get('resources').textContent
    for (const said of ['timeline', 'Timeline of INC-2041', 'U+200B', '4 KiB', 'text/markdown', 'allU+202Eexe.zip', 'hxxps://cases[.]example/export/all.zip', '70 MiB', 'case://{id}/notes{?author}', 'to be filled in']) expect(list).toContain(said)
    expect(list).not.toContain('\u202e')
  })
  test('are read by their address, and what comes is a result like any other', async () => {
    const host = await show('resources')
    host.outcome = 'memo'
    await click('resource-0')
    await click('offer-run')
    await ended()
    expect(called(host)).toMatchObject({ server: 'cases', kind: 'resource', tool: 'case://INC-2041/timeline', args: '' })
    const result = get('result').textContent
    for (const said of ['Outside text, result #7', '1 hidden character', 'Owner: N. Okafor', 'Event 12,496', 'Findings 1']) expect(result).toContain(said)
    await click('offer-back')
    expect(document.activeElement).toBe(get('resource-0'))
  })
  test('are watched while one looks at them, and what changed is said once', async () => {
    const host = await show('resources')
    const watched = (): unknown[][] => host.calls.filter(([m]) => m === 'AwaitChange').map(([, , ...of]) => of)
    await click('resource-0')
    await click('resource-watch')
    expect(watched()).toEqual([]) // nothing was read yet
    await click('offer-run')
    await ended()
    expect(watched()).toEqual([['cases', 'case://INC-2041/timeline']])
    expect(find('resource-changed')).toBeNull()
    host.resourceChanged()
    await ended()
    expect(get('resource-changed').textContent).toContain('case://INC-2041/timeline has changed since')
    await click('offer-run')
    await ended()
    expect(find('resource-changed')).toBeNull()
    expect(watched()).toHaveLength(2)
    await click('offer-back')
    expect(host.calls.filter(([m]) => m === 'CancelCall')).toHaveLength(2)
  })
  test('of a server that does not tell are not watched', async () => {
    await show('resources', { tells: false })
    await click('resource-0')
    expect(find('resource-watch')).toBeNull()
  })
  test('that a result names are read where all of them are', async () => {
    const first = servers.find((s) => s.name === 'cases')?.tools[0]
    const host = await show('tools', { tools: first ? [{ ...first, schema: '{"type":"object"}' }] : [] })
    host.Call = (c) => { host.calls.push(['Call', c]); return Promise.resolve({ ticket: c.ticket, callId: 'a', outcome: 'ok', stage: '', rule: '', reason: '', failure: null, content: [{ type: 'resource_link', text: 'export', mime: 'text/csv', dataUrl: '', uri: 'case://INC-2041/export', bytes: 0, role: '' }], structured: '', findings: [], changes: [], number: 3, tookMillis: 1, event: 9, at: '2026-11-23T10:00:00Z' }) }
    app.openRun('cases')
    await settle()
    await click('run-button')
    await ended()
    await click('read-link')
    await settle()
    expect(get('resource-address').textContent).toBe('case://INC-2041/export')
    await click('offer-run')
    await ended()
    expect(called(host)).toMatchObject({ server: 'cases', kind: 'resource', tool: 'case://INC-2041/export' })
    await click('offer-back')
    expect(get('resources').textContent).toContain('timeline')
  })
  test('of a template are filled in; proposals are only that, and the keyboard is enough', async () => {
    const host = await show('resources')
    await click('resource-2')
    expect(get('resource-address').textContent).toBe('case:///notes')
    await click('offer-run')
    expect(called(host)).toBeUndefined()
    const id = get('var-id')
    id.focus()
    await type('var-id', 'inc-20')
    expect(find('var-id-offered')).toBeNull()
    await pause()
    await settle()
    expect(host.calls.filter(([m]) => m === 'Complete').map(([, r]) => r)).toEqual([{ server: 'cases', prompt: '', template: 'case://{id}/notes{?author}', argument: 'id', value: 'inc-20', others: {} }])
    expect([...get('var-id-offered').children].map((c) => c.textContent)).toEqual(['INC-2041', 'INC-2042', 'INC-2077'])
    expect(id.getAttribute('aria-expanded')).toBe('true')
    expect((id as HTMLInputElement).value).toBe('inc-20')
    await press('ArrowDown')
    await press('ArrowDown')
    expect(document.getElementById(id.getAttribute('aria-activedescendant') ?? '')?.textContent).toBe('INC-2042')
    await press('Enter')
    expect((id as HTMLInputElement).value).toBe('INC-2042')
    expect(find('var-id-offered')).toBeNull()
    expect(get('resource-address').textContent).toBe('case://INC-2042/notes')
    get('var-author').focus()
    await press('ArrowDown') // asks without a word typed
    await pause()
    await settle()
    expect(host.calls.findLast(([m]) => m === 'Complete')?.[1]).toMatchObject({ argument: 'author', value: '', others: { id: 'INC-2042' } })
    expect(get('var-author-offered').textContent).toContain('K. BrandtU+202E')
    await press('Escape')
    expect(find('var-author-offered')).toBeNull()
    await click('offer-run')
    expect(called(host)?.tool).toBe('case://INC-2042/notes')
  })
  test('say what completing failed with, and stay usable', async () => {
    const host = await show('resources')
    await click('resource-2')
    get('var-id').focus()
    host.Complete = () => Promise.reject({ code: 'CRD-GEN-01', what: 'it holds one of your secrets', means: '', fix: '' })
    await type('var-id', 'tok')
    await pause()
    await settle()
    expect(document.querySelector('[data-detail]')?.textContent).toContain('Nothing is proposed: it holds one of your secrets')
  })
  test('of a server that nobody approved are not read', async () => {
    await show('overview', { pin: 'changed', state: 'stopped' })
    expect(find('tab-resources')).toBeTruthy()
    await click('tab-resources')
    expect(get('resources').textContent).toContain('lists them while it is connected')
  })
  test('that cannot be listed say why', async () => {
    const host = await open()
    host.Resources = () => Promise.reject({ code: 'CRD-SRV-03', what: 'cases is stopped', means: '', fix: '' })
    app.openServer('cases')
    await settle()
    await click('tab-resources')
    expect(get('resources').textContent).toContain('CRD-SRV-03')
  })
})

describe('nothing to read', () => {
  test('is said as such', async () => {
    const host = await open()
    host.Resources = () => Promise.resolve([])
    app.openServer('cases')
    await settle()
    await click('tab-resources')
    expect(get('resources').textContent).toContain('Nothing to read')
  })
  test('of a thousand, what is looked for is found, and the rest is announced', async () => {
    const host = await open()
    host.Resources = () => Promise.resolve(Array.from({ length: 1000 }, (_, i) => ({ uri: `memo://${i}`, template: '', variables: [], name: `memo ${i}`, title: '', description: '', mime: '', size: -1 })))
    app.openServer('cases')
    await settle()
    await click('tab-resources')
    expect(document.querySelectorAll('.offer-list > li').length).toBe(100)
    expect(get('resources').textContent).toContain('Show more: 900 entries left')
    await type('resources-find', 'memo://77')
    expect(document.querySelectorAll('.offer-list > li').length).toBe(11)
  })
})

describe('prompts', () => {
  test('are fetched with their arguments, and come back with their roles', async () => {
    const host = await show('prompts')
    host.outcome = 'prompt'
    expect(get('tab-prompts').textContent).toBe('Prompts 2')
    await click('prompt-triage')
    await click('offer-run')
    expect(document.querySelector('[data-detail]')?.textContent).toContain('case is required.')
    expect(document.activeElement).toBe(get('arg-case'))
    await type('arg-case', 'INC-2041')
    await click('offer-run')
    await ended()
    expect(called(host)).toMatchObject({ server: 'cases', kind: 'prompt', tool: 'triage', args: '{"case":"INC-2041"}' })
    expect([...document.querySelectorAll('[data-test="role"]')].map((r) => r.textContent)).toEqual(['as the user', 'as the assistant'])
  })
  test('that take no arguments are fetched as they are', async () => {
    const host = await show('prompts')
    await click('prompt-handover')
    await click('offer-run')
    expect(called(host)).toMatchObject({ kind: 'prompt', tool: 'handover', args: '{}' })
  })
})

describe('a call that runs', () => {
  const step = (over: Partial<CallProgress>): CallProgress => ({ ticket: '', server: 'cases', done: 3, total: 8, text: '', ...over })
  test('says how far it is, in words of its server, and only its own', async () => {
    const host = await open()
    host.slow = 60
    app.openRun('cases')
    await settle()
    await type('arg-text', 'x')
    await click('run-button')
    const ticket = called(host)?.ticket ?? ''
    host.push('call', step({ ticket: 'another', text: 'not mine' }))
    host.push('call', step({ ticket, text: 'reading <b>\u202e' }))
    await settle()
    const running = get('running')
    expect(running.textContent).toContain('step 3 of 8')
    expect(running.querySelector('.tape')?.textContent).toBe('reading <b>U+202E')
    expect(running.textContent).not.toContain('not mine')
    expect(running.querySelector('progress')?.getAttribute('aria-valuetext')).toBe('step 3 of 8')
    await click('cancel-button')
    expect(host.calls).toContainEqual(['CancelCall', ticket])
    await new Promise((done) => setTimeout(done, 80))
    await settle()
    expect(find('running')).toBeNull()
  })
  test('is ended when the page of what only reads is left', async () => {
    const host = await show('resources')
    host.slow = 60
    await click('resource-0')
    await click('offer-run')
    await click('offer-back')
    expect(host.calls).toContainEqual(['CancelCall', called(host)?.ticket])
    await new Promise((done) => setTimeout(done, 80))
  })
  test.each([[3, 8, 'step 3 of 8'], [9, 8, 'step 8 of 8'], [0.5, 1, '50 %'], [250, 1000, '25 %'], [4, 0, 'step 4'], [0.5, 0, ''], [-1, 8, '0 %']])('%d of %d', (done, total, words) => expect(stepWords(step({ done, total }))).toBe(words))
})
