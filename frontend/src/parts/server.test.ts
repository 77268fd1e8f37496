// One server's page: where it may connect, what it uses, its tools, its names.

import { describe, expect, test } from 'vitest'
import { click, get, open, settle } from '../dev/testing'
import { servers } from '../dev/servers'
import type { Standin } from '../dev/host'
import { app } from '../lib/app.svelte'
import type { ServerView } from '../lib/types'

const detail = (): string => document.querySelector('[data-detail]')?.textContent ?? ''
async function show(name: string, over: Partial<ServerView> = {}): Promise<Standin> {
  const host = await open({ servers: servers.map((s) => (s.name === name ? { ...s, ...over } : s)) })
  app.openServer(name)
  await settle()
  return host
}

describe('a server', () => {
  test('is called by its name, its title comes second', async () => {
    await show('filesystem', { title: 'Files' })
    expect(document.querySelector('[data-detail] h2')?.textContent).toBe('filesystem')
    expect(detail()).toContain('Files')
  })
  test('with named hosts says that they are all it may reach, and which are private', async () => {
    await show('http-fetch')
    for (const tab of ['tab-overview', 'tab-profile']) {
      await click(tab)
      expect(detail()).toContain('May reach these hosts, port 9200 of this computer and nothing else.')
      expect([...document.querySelectorAll('.reach li')].map((l) => l.textContent?.trim())).toEqual(['*.example.org:443', 'intel.example.net:443', 'proxy.corp.example:8080private network'])
    }
    expect(get('server-http-fetch').textContent).toContain('3 hosts, 1 private')
  })
  test('says what it uses, and what it waits for when that is much', async () => {
    await show('http-fetch')
    expect(detail()).toContain('It waits for memory 12 % of the time.')
    expect(detail()).toContain('29 of 32')
    expect(detail()).toContain('1.2 s since its start')
    await show('filesystem', { usage: { memoryBytes: 1024, memoryMax: 0, tasks: 0, tasksMax: 32, cpuMillis: 0, memoryWaits: 5, cpuWaits: 0, source: 'cgroup v1' } })
    for (const absent of ['It waits', 'CPU', 'not measured', '0 of 32']) expect(detail()).not.toContain(absent)
  })
  test('says once who set the effects, and again only where it differs', async () => {
    await show('http-fetch')
    await click('tab-tools')
    expect(detail()).toContain('effects set by Cordon')
    expect([...document.querySelectorAll('.tools li')].map((l) => l.textContent?.includes('set by Cordon; server said read'))).toEqual([false, true])
  })
  test('says what it asked for; each answer is sent for exactly that, and warnings have none', async () => {
    const host = await show('http-fetch', { profile: { ...servers.find((s) => s.name === 'http-fetch')!.profile, never: ['/home/analyst/.npmrc'] } })
    expect(get('tab-profile').textContent).toBe('Profile, 4 asked')
    await click('tab-profile')
    const asked = [...document.querySelectorAll('[data-test="asked"]')]
    expect(asked.map((a) => a.querySelector('.grow')?.textContent)).toEqual(['wants to read ~/cases/INC-2041/indicators 14 things in it', 'wants to reach api.urlscan.example:443 3 times', 'wants to call port 9200 of this computer'])
    const warned = document.querySelector('[aria-label="Warnings"]')
    expect(warned?.textContent).toContain('read /home/analyst/.aws/credentials: ')
    expect(warned?.querySelector('button')).toBeNull()
    expect(detail()).toContain('With all of this it would read files of yours and talk to the internet')
    expect(detail()).toContain('Until its process ends it has besides: read /home/analyst/cases/INC-2041/mail.')
    for (const [i, answer] of (['once', 'always', 'never'] as const).entries()) {
      asked[i]?.querySelector<HTMLElement>(`[data-test="asked-${answer}"]`)?.click()
      await settle()
    }
    await click('asked-again')
    await click('watch')
    expect(host.calls.filter(([m]) => ['AnswerWanted', 'ObserveServer'].includes(m))).toEqual([
      ['AnswerWanted', { server: 'http-fetch', does: 'reads', grant: '/home/analyst/cases/INC-2041/indicators', answer: 'once' }],
      ['AnswerWanted', { server: 'http-fetch', does: 'talks to', grant: 'api.urlscan.example:443', answer: 'always' }],
      ['AnswerWanted', { server: 'http-fetch', does: 'calls', grant: '9200', answer: 'never' }],
      ['AnswerWanted', { server: 'http-fetch', does: '', grant: '/home/analyst/.npmrc', answer: 'again' }],
      ['ObserveServer', 'http-fetch', true],
    ])
    expect(get('watch').textContent).toBe('Stop watching')
  })
  test('shows the messages of its session, the newest first, as text', async () => {
    await show('http-fetch')
    await click('tab-connection')
    const lines = [...document.querySelectorAll('.frames > li')]
    expect(lines.map((l) => l.querySelector('summary')?.textContent)).toEqual(
      ['answer to tools/call', 'notifications/initialized', 'answer to initialize', 'initialize', 'error to server/discover', 'server/discover'].map((what) => expect.stringContaining(what)))
    expect(lines[0]?.textContent).toContain('and more, which is not kept')
    expect(lines[2]?.querySelector('pre')?.textContent).not.toContain('\u202e')
    expect(document.querySelector('.frames pre *:not(span)')).toBeNull()
    await show('filesystem')
    await click('tab-connection')
    expect(detail()).toContain('none in this session')
  })
  test('says what its last start came through, where it failed and what helps, and what it does against the protocol', async () => {
    const host = await show('filesystem')
    await click('tab-connection')
    expect(get('connection').textContent).toContain('it took')
    expect(get('oddities').textContent).toContain('nothing since it was started')
    host.show({ servers: host.now.servers.map((s) => s.name !== 'filesystem' ? s : { ...s,
      steps: [{ name: 'files', tookMillis: 3, detail: '2 files', failed: false }, { name: 'sandbox', tookMillis: 8, detail: 'strong', failed: false }, { name: 'version', tookMillis: 90, detail: 'it ended\u202e with status 2', failed: true }],
      oddities: [{ at: '2026-11-18T08:00:00Z', code: 'wire.noise', text: 'it prints lines\u202e' }],
      tasks: [{ id: 't-1', tool: 'dig', call: 'c', began: '2026-11-18T08:00:00Z', ends: '' }] }) })
    await settle()
    expect(get('connection').textContent).toContain('it failed')
    expect(get('connection').textContent).toContain('Its command may lack an argument')
    expect(get('oddities').textContent).toContain('wire.noise')
    expect(`${get('connection').textContent}${get('oddities').textContent}`).not.toContain('\u202e')
    const [fetchIt, cancelIt] = [...get('tasks').querySelectorAll('button')]
    fetchIt?.click()
    await settle()
    for (let i = 0; i < 50 && cancelIt?.disabled; i++) await new Promise((r) => setTimeout(r, 20))
    cancelIt?.click()
    await settle()
    expect(host.calls.find(([m]) => m === 'Call')?.[1]).toMatchObject({ server: 'filesystem', kind: 'task', tool: 'dig', args: '{"taskId":"t-1"}' })
    expect(host.calls.filter(([m]) => m === 'CancelTask')).toEqual([['CancelTask', 'filesystem', 't-1']])
  })
  test('that sleeps says until when, and may be started, stopped and called', async () => {
    await show('whois')
    expect(detail()).toContain('Sleeping since 09:31:40')
    expect(detail()).toContain('It sleeps and starts at the next call.')
    for (const button of ['server-start', 'server-stop']) expect(get(button)).toBeTruthy()
    await click('tab-profile')
    expect(detail()).toContain('after 10 min without a call; the next call starts it')
    await show('filesystem')
    await click('tab-profile')
    expect(detail()).toContain('Sleepsnever')
    app.openRun('whois')
    await settle()
    expect(get('run-button').hasAttribute('disabled')).toBe(false)
  })
  test('that does not answer says so among those that need you', async () => {
    await show('filesystem', { state: 'not answering', pid: 0, failure: { code: 'CRD-SRV-01', what: 'filesystem is running, but has said nothing', means: '', fix: '' } })
    expect(detail()).toContain('Not answering')
    expect(get('server-filesystem').textContent).toContain('is running, but has said nothing')
  })
  test('is restarted in one step, so that its calls can end', async () => {
    const host = await show('filesystem')
    await click('server-restart')
    expect(host.calls).toContainEqual(['RestartServer', 'filesystem'])
  })
  test('that does not run tells of its last process', async () => {
    await show('http-fetch', { state: 'stopped', pid: 0 })
    expect(detail()).toContain('What was enforced')
    expect(get('server-http-fetch').textContent).not.toContain('11/13')
  })
})
