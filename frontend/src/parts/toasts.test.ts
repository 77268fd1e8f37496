// Messages: how long they stay, and what takes their place.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { open, settle } from '../dev/testing'
import { servers } from '../dev/servers'
import { app } from '../lib/app.svelte'
import type { ServerState } from '../lib/types'

const shown = (): string => document.querySelector('.toasts')?.textContent ?? ''
const pass = async (ms: number): Promise<void> => { await vi.advanceTimersByTimeAsync(ms); await settle() }
const edr = (state: ServerState) => ({ servers: servers.map((s) => (s.name === 'edr' ? { ...s, state } : s)) })

beforeEach(() => { vi.useFakeTimers() })
afterEach(() => { vi.useRealTimers() })

describe('messages', () => {
  test('good news goes after five seconds, a failure stays', async () => {
    await open()
    app.toast('ok', 'Done.')
    app.fail({ code: 'CRD-X-01', what: 'It failed.', means: '', fix: '' })
    await pass(4900)
    expect(shown()).toContain('Done.')
    await pass(200)
    expect(shown()).not.toContain('Done.')
    await pass(600_000)
    expect(shown()).toContain('It failed.')
  })
  test('a newer one about the same takes the place of the older', async () => {
    await open()
    app.toast('ok', 'edr is here.')
    app.toast('ok', 'edr is approved.')
    app.toast('danger', 'edr-2 failed.')
    app.toast('danger', 'edr-2 failed.')
    await settle()
    expect([...document.querySelectorAll('.toast p.b')].map((p) => p.textContent)).toEqual(['edr is approved.', 'edr-2 failed.'])
  })
  test('failures are the last to make room', async () => {
    await open()
    app.toast('danger', 'one')
    for (const text of ['two', 'three', 'four']) app.toast('ok', text)
    await settle()
    expect([...document.querySelectorAll('.toast p.b')].map((p) => p.textContent)).toEqual(['one', 'three', 'four'])
  })
  test('one about a server goes when it is no longer true', async () => {
    const host = await open(edr('running'))
    app.toast('ok', 'edr is approved.')
    host.show(edr('starting'))
    await settle()
    expect(shown()).toContain('edr is approved.')
    host.show(edr('stopped'))
    await settle()
    expect(shown()).not.toContain('edr is approved.')
    app.toast('danger', 'edr did not start.')
    host.show(edr('starting'))
    await settle()
    expect(shown()).toContain('edr did not start.')
    host.show(edr('running'))
    await settle()
    expect(shown()).not.toContain('edr did not start.')
  })
})
