import { screen } from '@testing-library/svelte'
import { describe, expect, test, vi } from 'vitest'
import { click, expectAccessible, find, get, open, press, settle, type } from '../dev/testing'
import { promptHigh, promptTwo, promptWrite } from '../dev/prompts'
import { app } from '../lib/app.svelte'
import type { Snapshot } from '../lib/types'

const nothing: Partial<Snapshot> = { servers: [], secrets: [], log: { events: 0, intact: true, checkedAt: '', head: '', problem: '' } }
const bad: Partial<Snapshot> = {
  keyring: { state: 'locked', provider: 'GNOME Keyring', detail: 'Locked.', fix: 'Unlock it.' }, problems: [{ code: 'CRD-SBX-11', what: 'No server can start.', means: 'Too old.', fix: 'Newer.' }],
  checks: [{ name: 'Landlock', state: 'missing', detail: 'ABI 2.', fix: 'Newer kernel.' }], log: { events: 3, intact: false, checkedAt: '', head: '', problem: 'Event 2 was changed.' },
}

describe('axe finds nothing', () => {
  const views: [string, Partial<Snapshot>, () => unknown][] = [
    ['start', { firstRun: true }, () => app.go('start')], ['start, empty', nothing, () => app.go('start')],
    ['start, after the sandbox', {}, async () => { app.go('start'); await settle(); await click('try-sandbox') }],
    ['run', {}, () => app.openRun('sentinel', 'query')], ['run, empty', nothing, () => app.go('run')], ['run, quarantined', {}, () => app.openRun('ticketing')],
    ['servers', {}, () => app.openServer('http-fetch')], ['servers, failed', {}, () => app.openServer('virustotal')], ['servers, empty', nothing, () => app.go('servers')],
    ['servers, review', {}, () => app.openServer('memory-graph')], ['servers, remote', {}, () => app.openServer('cases')], ['servers, sign-in needed', {}, () => app.openServer('intel')], ['servers, nameless', {}, () => app.openServer('openbook')],
    ['servers, resources', {}, async () => { app.openServer('cases'); await settle(); await click('tab-resources') }], ['servers, template', {}, async () => { app.openServer('cases'); await settle(); await click('tab-resources'); await click('resource-2') }],
    ['servers, prompt', {}, async () => { app.openServer('cases'); await settle(); await click('tab-prompts'); await click('prompt-triage'); await click('offer-run') }], ['add, at an address', {}, async () => { app.overlay = { kind: 'add' }; await settle(); await click('add-from-url'); await click('add-how-key'); await click('add-save') }], ['servers, quarantined', {}, () => app.openServer('ticketing')],
    ['activity', {}, () => app.openEvent(12491)], ['activity, empty', nothing, () => app.go('activity')], ['degraded', bad, () => app.openSettings('computer')],
    ...(['secrets', 'models', 'policy', 'computer', 'appearance', 'keyboard', 'about'] as const).map((p): [string, Partial<Snapshot>, () => unknown] => [`settings, ${p}`, {}, () => app.openSettings(p)]),
    ['secrets, locked', bad, () => app.openSettings('secrets')],
    ['consent, level 1', { prompt: promptWrite(), waiting: 1 }, () => {}], ['consent, level 2', { prompt: promptHigh() }, () => {}], ['consent, level 3', { prompt: promptTwo() }, () => {}],
    ['add', {}, () => { app.overlay = { kind: 'add' } }], ['keys', {}, () => { app.overlay = { kind: 'keys' } }], ['remove', {}, () => { app.overlay = { kind: 'remove', server: 'edr' } }], ['link', {}, () => { app.overlay = { kind: 'link', url: 'https://a.example/' } }],
  ]
  test.each(views)('%s', async (_name, over, go) => {
    await open(over)
    await go()
    await settle()
    await expectAccessible()
  }, 20_000)
  test.each(['table', 'text', 'denied', 'failed', 'cancelled', 'toolError'])('result: %s', async (outcome) => {
    const host = await open()
    host.outcome = outcome
    app.openRun('sentinel', 'list_tables')
    await settle()
    await click('run-button')
    await new Promise((done) => setTimeout(done, 10))
    await settle()
    expect(get('result').textContent).not.toContain('No result yet')
    await expectAccessible()
  }, 20_000)
})

describe('keyboard', () => {
  test('Ctrl and a digit choose the screen', async () => {
    await open()
    for (const [i, name] of (['chat', 'run', 'servers', 'activity', 'settings', 'start'] as const).entries()) {
      await press(String(i + 1), { ctrlKey: true })
      expect(get(`nav-${name}`).getAttribute('aria-current')).toBe('page')
    }
  })
  test('/ finds, ? shows the keys, Esc closes them', async () => {
    await open()
    await press('/', {}, document.body)
    expect(document.activeElement?.getAttribute('aria-label')).toBe('Find server or tool')
    await press('?')
    expect(screen.queryByRole('dialog')).toBeNull()
    await press('?', {}, document.body)
    expect(screen.getByRole('dialog', { name: 'All keys' })).toBeTruthy()
    await press('Escape')
    expect(screen.queryByRole('dialog')).toBeNull()
  })
  test('focus goes back where it was when a dialog closes, in an engine that knows inert', async () => {
    const { focus } = HTMLElement.prototype
    vi.spyOn(HTMLElement.prototype, 'focus').mockImplementation(function (this: HTMLElement, o) {
      for (let e: HTMLElement | null = this; e; e = e.parentElement) if (e.inert) return
      focus.call(this, o)
    })
    await open()
    get('add-server').focus()
    await click('add-server')
    expect(document.activeElement).toBe(get('add-name'))
    await press('Escape')
    expect(document.activeElement).toBe(get('add-server'))
  })
  test('F6 goes through the regions and comes round', async () => {
    await open()
    const seen = new Set<string>()
    for (let i = 0; i < 6; i++) {
      await press('F6', {}, document.activeElement ?? document.body)
      seen.add(document.activeElement?.closest('[data-region]')?.getAttribute('aria-label') ?? 'main')
    }
    expect([...seen]).toEqual(expect.arrayContaining(['Main', 'Server list', 'Status']))
  })
  test('Ctrl Shift Backspace stops everything, also over a dialog', async () => {
    const host = await open({ prompt: promptWrite() })
    await press('Backspace', { ctrlKey: true, shiftKey: true })
    expect(host.calls.map((c) => c[0])).toContain('StopEverything')
    expect(find('consent')).toBeNull()
  })
  test('arrows choose a server, → goes to it, ← back', async () => {
    await open()
    const list = screen.getByRole('listbox')
    list.focus()
    await press('End')
    const last = screen.getAllByRole('option').at(-1)
    expect(last?.getAttribute('aria-selected')).toBe('true')
    await press('ArrowRight')
    expect(document.activeElement?.closest('[data-detail]')).toBeTruthy()
    await press('ArrowLeft')
    expect(document.activeElement).toBe(list)
  })
})

describe('three things to try', () => {
  const start = async (): Promise<Awaited<ReturnType<typeof open>>> => {
    const host = await open({ firstRun: true })
    app.go('start')
    await settle()
    return host
  }
  const step = (over: object) => ({ id: 'fs', text: 'Fetching', step: 1, steps: 3, done: false, failure: null, ...over })
  test('the filesystem server: progress, cancel, then Run', async () => {
    const host = await start()
    host.TryFilesystem = () => Promise.resolve('fs')
    await click('try-filesystem')
    host.push('progress', step({}))
    await settle()
    expect(screen.getByRole('progressbar')).toBeTruthy()
    expect(document.body.textContent).toContain('Fetching')
    await click('try-cancel')
    expect(host.calls).toContainEqual(['CancelProgress', 'fs'])
    host.push('progress', step({ done: true }))
    await settle()
    expect(app.screen).toBe('run')
    expect((get('run-server') as HTMLSelectElement).value).toBe('filesystem')
  })
  test('its failure is shown, and it can be tried again', async () => {
    const host = await start()
    host.TryFilesystem = () => Promise.resolve('fs')
    await click('try-filesystem')
    host.push('progress', step({ done: true, failure: { code: 'CRD-INS-02', what: 'The registry did not answer.', means: 'm', fix: 'f' } }))
    await settle()
    expect(document.body.textContent).toContain('CRD-INS-02')
    expect((get('try-filesystem') as HTMLButtonElement).disabled).toBe(false)
  })
  test('a new server is reviewed before it is run', async () => {
    const host = await start()
    host.TryFilesystem = () => Promise.resolve('fs')
    host.show({ servers: host.now.servers.map((s) => (s.name === 'filesystem' ? { ...s, pin: 'new' } : s)) })
    await click('try-filesystem')
    host.push('progress', step({ done: true }))
    await settle()
    expect(get('review-approve').textContent).toBe('Approve these 8 tools')
  })
  test('practice: the dialog comes, and its outcome is told', async () => {
    await start()
    await click('try-consent')
    expect(get('consent').textContent).toContain('Practice')
    await click('consent-deny')
    expect(document.body.textContent).toContain('It was denied: nothing was written.')
  })
})

describe('servers', () => {
  test('approving sends the digest that was shown', async () => {
    const host = await open()
    app.openServer('ticketing')
    await settle()
    expect(get('review-approve').textContent).toBe('Approve these 2 tools')
    expect(document.body.textContent).toContain('12 tag characters: “skip consent”')
    await click('review-approve')
    expect(host.calls).toContainEqual(['Approve', 'ticketing', 'sha256:7a10c4e2b86d901f'])
  })
  test('a typed command is shown back as words and sent as words', async () => {
    const host = await open()
    app.overlay = { kind: 'add' }
    await settle()
    await type('add-name', 'notes')
    await type('add-command', 'node "/opt/my server/index.js" --root')
    await type('add-env', 'LOG')
    await click('add-save')
    expect(document.getElementById('add-env-e')?.textContent).toBe('One NAME=VALUE a line.')
    await type('add-env', 'LOG=info\n\nQUERY= a=b ')
    expect([...get('add-words').querySelectorAll('li')].map((li) => li.textContent)).toEqual(['node', '/opt/my server/index.js', '--root'])
    await click('add-read')
    await click('add-save')
    expect(host.calls).toContainEqual(['AddServer', { name: 'notes', package: '', scripts: false, command: ['node', '/opt/my server/index.js', '--root'], read: ['/home/analyst/cases/INC-2041'], write: [], net: 'none', hosts: [], privateHosts: [], reach: [], serve: [], memoryBytes: 768 * 1024 * 1024, pids: 96, env: [{ name: 'LOG', value: 'info', secret: '' }, { name: 'QUERY', value: ' a=b ', secret: '' }] }]) // the host's defaults
  })
  test('a package is installed, tells how it goes, and is opened at its end', async () => {
    const host = await open()
    app.overlay = { kind: 'add' }
    await settle()
    await click('add-from-npm')
    await type('add-name', 'edr-2')
    for (const bad of ['', '@x', 'a@^1.0.0', 'a b', '../a', 'a@latest']) {
      await type('add-package', bad)
      await click('add-save')
      expect(host.calls.map((c) => c[0]), bad).not.toContain('InstallServer')
    }
    await type('add-package', '@x/server@1.2.3')
    await click('add-save')
    expect(host.calls).toContainEqual(['InstallServer', expect.objectContaining({ name: 'edr-2', package: 'npm:@x/server@1.2.3', scripts: false, command: [] })])
    host.push('progress', { id: 'install', text: 'Fetching npm:@x/server@1.2.3', step: 1, steps: 4, done: false, failure: null })
    await settle()
    expect(document.body.textContent).toContain('Fetching npm:@x/server@1.2.3')
    host.push('progress', { id: 'install', text: '', step: 2, steps: 4, done: true, failure: { code: 'CRD-X', what: 'It is not there.', means: '', fix: '' } })
    await settle()
    expect(document.body.textContent).toContain('It is not there.')
    expect(app.overlay.kind).toBe('add')
    app.progress = {}
    await click('add-save')
    await settle()
    host.push('progress', { id: 'install', text: 'Installed', step: 4, steps: 4, done: true, failure: null })
    await settle()
    expect(app.overlay.kind).toBe('none')
  })
  test('a bad form is not sent', async () => {
    const host = await open()
    app.overlay = { kind: 'add' }
    await settle()
    await type('add-name', 'edr')
    await click('add-save')
    expect(host.calls.map((c) => c[0])).not.toContain('AddServer')
    expect(document.body.textContent).toContain('A server has this name already.')
  })
  test('a refusal of the host is shown with its code', async () => {
    const host = await open()
    host.failing = { code: 'CRD-SRV-09', what: 'It will not stop.', means: 'm', fix: 'f' }
    app.openServer('sentinel')
    await settle()
    await click('server-stop')
    expect(screen.getByRole('status', { name: 'Messages' }).textContent).toContain('CRD-SRV-09')
  })
})

describe('many snapshots', () => {
  const again = async (host: Awaited<ReturnType<typeof open>>): Promise<void> => {
    for (let i = 0; i < 5; i++) { host.show({ servers: structuredClone(host.now.servers) }); await settle() }
  }
  test('ask for nothing again, and leave the view where it is', async () => {
    const host = await open()
    app.openServer('ticketing')
    await settle()
    await click('review-keep')
    app.openServer('http-fetch')
    await settle()
    await click('tab-log')
    const asked = host.calls.length
    await again(host)
    expect(host.calls.slice(asked)).toEqual([])
    expect(get('tab-log').getAttribute('aria-selected')).toBe('true')
    app.openServer('ticketing')
    await settle()
    await click('review-keep')
    await again(host)
    expect(find('review-approve')).toBeNull()
  })
  test('a longer log is read again', async () => {
    const host = await open()
    app.openServer('http-fetch')
    await settle()
    const reads = (): number => host.calls.filter((c) => c[0] === 'ServerLog').length
    const before = reads()
    host.show({ servers: host.now.servers.map((s) => (s.name === 'http-fetch' ? { ...s, stderrLines: 119 } : s)) })
    await settle()
    expect(reads()).toBe(before + 1)
  })
})

describe('run', () => {
  test('sends what was typed; missing values are named and not sent', async () => {
    const host = await open()
    app.openRun('filesystem', 'read_text_file')
    await settle()
    await click('run-button')
    expect(host.calls.map((c) => c[0])).not.toContain('Call')
    expect(document.body.textContent).toContain('path is required.')
    await type('arg-path', '/cases/a b.txt')
    await type('arg-head', '5')
    await press('Enter', { ctrlKey: true })
    expect(host.calls.find((c) => c[0] === 'Call')?.[1]).toMatchObject({ server: 'filesystem', tool: 'read_text_file', args: '{"path":"/cases/a b.txt","head":5}' })
  })
  test('a snapshot does not wipe what is being typed', async () => {
    const host = await open()
    app.openRun('filesystem', 'read_text_file')
    await settle()
    await type('arg-path', '/x')
    host.show({ servers: structuredClone(host.now.servers) })
    await settle()
    expect((get('arg-path') as HTMLInputElement).value).toBe('/x')
  })
  test('a server that ends leaves the form and the result; it can be started there', async () => {
    const host = await open()
    const whole = structuredClone(host.now.servers)
    app.openRun('filesystem', 'read_text_file')
    await settle()
    await type('arg-path', '/x')
    await click('run-button')
    await vi.waitFor(() => expect(find('result')).not.toBeNull())
    host.show({ servers: whole.map((s) => (s.name === 'filesystem' ? { ...s, state: 'stopped', pid: 0, tools: [] } : s)) })
    await settle()
    expect((get('arg-path') as HTMLInputElement).value).toBe('/x')
    expect(find('result')).not.toBeNull()
    expect((get('run-button') as HTMLButtonElement).disabled).toBe(true)
    await click('run-start')
    expect(host.calls).toContainEqual(['StartServer', 'filesystem'])
  })
  test('a running call can be cancelled by its ticket', async () => {
    const host = await open()
    host.slow = 50
    app.openRun('sentinel', 'list_tables')
    await settle()
    await click('run-button')
    await click('cancel-button')
    const [, request] = host.calls.find((c) => c[0] === 'Call') ?? []
    expect(host.calls).toContainEqual(['CancelCall', (request as { ticket: string }).ticket])
  })
  test('a denied call says stage, rule and reason', async () => {
    const host = await open()
    host.outcome = 'denied'
    app.openRun('sentinel', 'list_tables')
    await settle()
    await click('run-button')
    await vi.waitFor(() => expect(find('result')?.dataset['outcome']).toBe('denied'))
    for (const said of ['flow.destination', 'Decide', 'Outside text may not choose']) expect(get('result').textContent).toContain(said)
  })
})

describe('secrets', () => {
  test('the value is sent once and gone from the window', async () => {
    const host = await open()
    app.openSettings('secrets')
    await settle()
    await type('secret-name', 'vt-key')
    const server = get('secret-server') as HTMLSelectElement
    server.value = 'virustotal'
    server.dispatchEvent(new Event('change', { bubbles: true }))
    await type('secret-env', 'VT_KEY')
    await type('secret-value', 'hunter2')
    expect((get('secret-value') as HTMLInputElement).type).toBe('password')
    await click('secret-save')
    expect(host.calls).toContainEqual(['SetSecret', { name: 'vt-key', server: 'virustotal', env: 'VT_KEY', value: 'hunter2' }])
    expect((get('secret-value') as HTMLInputElement).value).toBe('')
    expect(document.documentElement.outerHTML).not.toContain('hunter2')
  })
  test('a refused value is gone too', async () => {
    const host = await open()
    app.openSettings('secrets')
    await settle()
    host.failing = { code: 'CRD-KEY-02', what: 'The keyring is locked.', means: '', fix: '' }
    await type('secret-name', 'a')
    const server = get('secret-server') as HTMLSelectElement
    server.value = 'virustotal'
    server.dispatchEvent(new Event('change', { bubbles: true }))
    await type('secret-env', 'A')
    await type('secret-value', 'hunter2')
    await click('secret-save')
    expect((get('secret-value') as HTMLInputElement).value).toBe('')
    expect(document.body.textContent).toContain('CRD-KEY-02')
  })
  test('without a keyring nothing can be kept until the person chooses', async () => {
    const host = await open(bad)
    app.openSettings('secrets')
    await settle()
    expect((get('secret-save') as HTMLButtonElement).disabled).toBe(true)
    await click('session-secrets')
    expect(host.calls.map((c) => c[0])).toContain('UseSessionSecrets')
    expect((get('secret-save') as HTMLButtonElement).disabled).toBe(false)
  })
})

describe('activity', () => {
  test('new events come on top, once', async () => {
    const host = await open()
    app.go('activity')
    await vi.waitFor(() => expect(find('event-12498')).toBeTruthy())
    const fresh = { seq: 12499, time: '2026-11-23T09:48:00Z', kind: 'server' as const, title: 'edr started', server: 'edr', tool: '', effect: '' as const, decision: '' as const, rule: '', tookMillis: 0, callId: '' }
    host.push('activity', [fresh])
    host.push('activity', [fresh])
    await settle()
    expect(document.querySelectorAll('[data-test="event-12499"]').length).toBe(1)
    expect(document.querySelector('tbody tr')?.getAttribute('data-test')).toBe('event-12499')
  })
  test('a call that asked counts once', async () => {
    const host = await open()
    app.go('activity')
    await vi.waitFor(() => expect(find('event-12498')).toBeTruthy())
    const event = (seq: number, kind: 'call' | 'consent' | 'pin', decision: 'you denied' | 'denied' | 'failed') => ({ seq, time: '2026-11-23T09:48:00Z', kind, title: 'edr', server: 'edr', tool: 'x', effect: 'write' as const, decision, rule: '', tookMillis: 0, callId: 'c' })
    host.push('activity', [event(12499, 'consent', 'you denied'), event(12500, 'call', 'you denied'), event(12501, 'pin', 'denied'), event(12502, 'call', 'failed')])
    await settle()
    expect(screen.getByRole('main').textContent).toMatch(/8 asked.*8 denied/)
  })
  test('a row opens its story, Esc closes it', async () => {
    await open()
    app.go('activity')
    await vi.waitFor(() => expect(find('event-12491')).toBeTruthy())
    await click('event-12491')
    expect(screen.getByRole('complementary').textContent).toContain('flow.destination')
    expect(screen.getByRole('img', { name: 'Stopped at stage 5 of 10' })).toBeTruthy()
    await press('Escape', {}, screen.getByRole('complementary'))
    expect(screen.queryByRole('complementary')).toBeNull()
  })
  test('older events are asked for by number', async () => {
    const host = await open()
    app.go('activity')
    await vi.waitFor(() => expect(find('event-12498')).toBeTruthy())
    const query = host.calls.filter((c) => c[0] === 'Events').at(-1)?.[1]
    expect(query).toEqual({ text: '', server: '', decision: '', before: 0, limit: 200 })
  })
  test('a broken chain is said on every screen', async () => {
    await open(bad)
    expect(document.querySelector('.banner')?.textContent).toContain('Event 2 was changed.')
    expect(screen.getByRole('contentinfo').textContent).toContain('Log damaged')
  })
})

describe('outside text', () => {
  test('is never markup, and never a live link', async () => {
    const host = await open()
    const servers = structuredClone(host.now.servers)
    const first = servers.find((s) => s.name === 'sentinel')
    if (first) first.tools = first.tools.map((t) => ({ ...t, description: '<img src=x onerror=alert(1)><a href="https://a.example">x</a>' }))
    host.show({ servers })
    app.openRun('sentinel', 'query')
    await settle()
    expect(document.querySelector('main img, main a')).toBeNull()
    expect(document.body.textContent).toContain('<img src=x onerror=alert(1)>')
  })
  test('a link opens only after its whole address was shown', async () => {
    const host = await open()
    const a = document.createElement('a')
    a.href = 'https://docs.example/?q=1'
    document.querySelector('main')?.append(a)
    a.click()
    await settle()
    expect(host.calls.map((c) => c[0])).not.toContain('OpenLink')
    const dialog = screen.getByRole('dialog')
    expect(dialog.textContent).toContain('https://docs.example/?q=1')
    screen.getByRole('button', { name: 'Open in browser' }).click()
    await settle()
    expect(host.calls).toContainEqual(['OpenLink', 'https://docs.example/?q=1'])
  })
})
